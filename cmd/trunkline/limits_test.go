package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
)

func TestLimitFlagsSayWhatTheConfigurationMeans(t *testing.T) {
	read := func(args ...string) (*transport.Config, error) {
		fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		limits := (&app{}).limitFlags(fs)
		require.NoError(t, fs.Parse(args))
		cfg := new(transport.Config)
		return cfg, limits.apply(cfg)
	}
	cfg, err := read()
	require.NoError(t, err)
	assert.Equal(t, &transport.Config{Hold: 30 * time.Second, MaxSessions: 10_000, MaxIdentitySessions: 100, MaxPerAddress: 256}, cfg)
	cfg, err = read("--hold=0", "--max-sessions=5", "--max-per-identity=0", "--max-per-address=0")
	require.NoError(t, err)
	assert.Equal(t, &transport.Config{Hold: -1, MaxSessions: 5, MaxIdentitySessions: -1, MaxPerAddress: -1}, cfg, "0 is none, not the default")
	for _, arg := range []string{"--hold=-1s", "--max-sessions=0", "--max-per-identity=-1", "--max-per-address=-1"} {
		_, err := read(arg)
		assert.Equal(t, exitUsage, exitCode(err), arg)
	}
}
