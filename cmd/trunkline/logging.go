package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// A logFlags holds how to log.
type logFlags struct{ format, level *string }

// logFlags adds --log-format and --log-level.
func (a *app) logFlags(fs *pflag.FlagSet, level string) logFlags {
	return logFlags{
		format: fs.String("log-format", "text", "how to log on stderr: `text` or json"),
		level:  fs.String("log-level", level, "least `LEVEL` to log: debug, info, warn or error"),
	}
}

// logger returns the logger that the flags ask for.
func (f logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	switch *f.level {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		return nil, usagef("--log-level %q: want debug, info, warn or error", *f.level)
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	switch *f.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usagef("--log-format %q: want text or json", *f.format)
}

// readable writes durations as people do; in JSON they would be nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
