package transport

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// fullDisk takes some bytes, and then none.
type fullDisk struct {
	left   int
	closed bool
}

var errFull = errors.New("no space left on device")

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.left {
		n := d.left
		d.left = 0
		return n, errFull
	}
	d.left -= len(p)
	return len(p), nil
}

func (d *fullDisk) Close() error { d.closed = true; return errFull }

// A disk that is full never shows as an error of the trace, is told of once, and its file is closed.
func TestQlogOnAFullDisk(t *testing.T) {
	var told []error
	disk := &fullDisk{left: 40 << 10}
	f := newQlogFile(disk, func(err error) { told = append(told, err) })
	for range 100 {
		n, err := f.Write(make([]byte, 1<<10))
		require.NoError(t, err)
		require.Equal(t, 1<<10, n)
	}
	require.NoError(t, f.Close())
	require.Equal(t, []error{errFull}, told)
	require.True(t, disk.closed)
}
