package certs_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// A watch is what WatchRevoked has told.
type watch struct {
	last    *certs.Denied
	changes int
	errors  []error
}

// watching starts a watch of home, with the fake clock of a bubble, and waits for its first look.
func watching(t *testing.T, home *certs.Home) *watch {
	t.Helper()
	w := &watch{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		home.WatchRevoked(ctx, func(d *certs.Denied) {
			w.last = d
			w.changes++
		}, func(err error) { w.errors = append(w.errors, err) })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return w
}

// look lets the time pass that a watch may take.
func look() {
	time.Sleep(250 * time.Millisecond)
	synctest.Wait()
}

// S4
func TestAWatchTellsOfEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newHome(t, certs.Env{})
		alice, bob := userCredentials(t, home, "alice"), userCredentials(t, home, "bob")
		w := watching(t, home)
		require.Equal(t, 1, w.changes)
		require.NoError(t, w.last.Check(bob.ID(), keyOf(bob)))

		// Another process is another Home.
		require.NoError(t, openHome(t, home.Dir(), certs.Env{}).Revoke("bob"))
		look()
		require.Equal(t, 2, w.changes)
		require.NoError(t, w.last.Check(alice.ID(), keyOf(alice)))
		require.ErrorIs(t, w.last.Check(bob.ID(), certs.Fingerprint{}), certs.ErrRevoked)
		require.ErrorIs(t, w.last.Check(alice.ID(), keyOf(bob)), certs.ErrRevoked)

		require.NoError(t, home.Revoke("alice"))
		_, err := home.Invite("bob", certs.InviteOptions{}) // lifts the name
		require.NoError(t, err)
		look()
		require.NoError(t, w.last.Check(bob.ID(), certs.Fingerprint{}))
		require.ErrorIs(t, w.last.Check(bob.ID(), keyOf(bob)), certs.ErrRevoked)
		require.ErrorIs(t, w.last.Check(alice.ID(), certs.Fingerprint{}), certs.ErrRevoked)

		seen := w.changes
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, seen, w.changes)
		assert.Empty(t, w.errors)
	})
}

func TestAWatchKeepsToWhatItKnowsWhileTheListIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := newHome(t, certs.Env{})
		bob, carol := userCredentials(t, home, "bob"), userCredentials(t, home, "carol")
		require.NoError(t, home.Revoke("bob"))
		w := watching(t, home)
		path := filepath.Join(home.Dir(), "revoked")
		good, err := os.ReadFile(path)
		require.NoError(t, err)

		require.NoError(t, os.WriteFile(path, []byte("everybody\n"), 0o600))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, w.changes)
		require.Len(t, w.errors, 1, "said once, not at each look")
		assert.ErrorContains(t, w.errors[0], "everybody")

		// Put right, it is read again; broken as before, that is said again.
		require.NoError(t, os.WriteFile(path, append(good, "name carol\n"...), 0o600))
		look()
		require.Equal(t, 2, w.changes)
		assert.ErrorIs(t, w.last.Check(bob.ID(), keyOf(bob)), certs.ErrRevoked)
		assert.ErrorIs(t, w.last.Check(carol.ID(), keyOf(carol)), certs.ErrRevoked)
		require.NoError(t, os.WriteFile(path, []byte("everybody\n"), 0o600))
		look()
		assert.Len(t, w.errors, 2)
	})
}

// What is told of a moment is what CheckRevoked says at it.
func TestDeniedIsWhatCheckRevokedSays(t *testing.T) {
	home := newHome(t, certs.Env{})
	bob, server := userCredentials(t, home, "bob"), serverCredentials(t, home)
	require.NoError(t, home.Revoke("bob"))
	require.NoError(t, home.Revoke("server"))
	denied, err := home.Denied()
	require.NoError(t, err)
	for _, id := range []certs.ID{{}, bob.ID(), server.ID(), userCredentials(t, home, "alice").ID()} {
		for _, key := range []certs.Fingerprint{{}, keyOf(bob), keyOf(server)} {
			assert.Equal(t, home.CheckRevoked(id, key), denied.Check(id, key))
		}
	}
}
