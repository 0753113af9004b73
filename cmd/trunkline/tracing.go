package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/transport"
)

// A traceFlags holds where to write what is for debugging connections.
type traceFlags struct{ qlog, keylog *string }

// traceFlags adds --qlog and --keylog.
func (a *app) traceFlags(fs *pflag.FlagSet) traceFlags {
	return traceFlags{
		qlog:   fs.String("qlog", "", "`DIR` for a qlog trace of each connection; nothing takes them away"),
		keylog: fs.String("keylog", "", "`FILE` to append the TLS secrets of every connection to, for debugging: who reads it can read all that was said"),
	}
}

// apply puts what the flags ask for into cfg. Whoever called it closes what it returns when the last
// connection has ended. SSLKEYLOGFILE is not looked at: others set it for all programs of a person.
func (f traceFlags) apply(a *app, cfg *transport.Config, log *slog.Logger) (io.Closer, error) {
	cfg.QlogDir = *f.qlog
	if *f.keylog == "" {
		return io.NopCloser(nil), nil
	}
	file, err := openKeyLog(*f.keylog)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(a.stderr, "trunkline: warning: the secrets of every connection are being written to %s: whoever reads that can read all that is said\n", *f.keylog)
	log.Warn("tls secrets are being written", "file", *f.keylog)
	cfg.KeyLog = file
	return file, nil
}

// openKeyLog opens a file of the owner's alone, to append to.
func openKeyLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("--keylog: %s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		err = withHint(fmt.Errorf("--keylog: %s is open to others (mode %04o)", path, info.Mode().Perm()), "name a file that is yours alone, or a new one")
	default:
		return file, nil
	}
	_ = file.Close() // nothing was written
	return nil, err
}
