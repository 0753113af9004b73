package certs_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

func TestAPinIsKeptUntilItIsForgotten(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	one, two := certs.Fingerprint{1}, certs.Fingerprint{2}
	require.NoError(t, home.Pin("Chat.Example.:4433", one))
	require.NoError(t, home.Pin("[::1]:4433", two))
	require.NoError(t, home.Pin("chat.example:4433", one), "the same again")

	err := home.Pin("chat.example:4433", two)
	require.ErrorIs(t, err, certs.ErrPinned)
	var e *certs.PinError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, certs.PinError{Addr: "chat.example:4433", Pinned: one, Got: two}, *e)
	assert.Contains(t, err.Error(), one.String())
	assert.Contains(t, err.Error(), two.String())

	again := openHome(t, home.Dir(), certs.Env{})
	got, err := again.Pinned("CHAT.example:04433")
	require.NoError(t, err)
	assert.Equal(t, one, got)
	all, err := again.Pins()
	require.NoError(t, err)
	assert.Equal(t, []certs.Pin{{Addr: "chat.example:4433", Key: one}, {Addr: "[::1]:4433", Key: two}}, all)

	was, err := home.Unpin("chat.example:4433")
	require.NoError(t, err)
	assert.True(t, was)
	was, err = home.Unpin("chat.example:4433")
	require.NoError(t, err)
	assert.False(t, was)
	require.NoError(t, home.Pin("chat.example:4433", two))
}

// It is where a connection to either goes.
func TestAPinOfAnIPv4AddressIsThatOfItsIPv6Spelling(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	require.NoError(t, home.Pin("192.0.2.1:4433", certs.Fingerprint{1}))
	got, err := home.Pinned("[::ffff:192.0.2.1]:4433")
	require.NoError(t, err)
	assert.Equal(t, certs.Fingerprint{1}, got)
	require.ErrorIs(t, home.Pin("[::FFFF:c000:201]:4433", certs.Fingerprint{2}), certs.ErrPinned)
}

func TestAPinNeedsAnAddressAndAKey(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	for _, addr := range []string{"", "host", "host:", "host:0", "host:65536", "host:https", "ho st:1", "-h:1", "[fe80::1%a b]:1", ":1", "a\nb:1"} {
		assert.Error(t, home.Pin(addr, certs.Fingerprint{1}), addr)
	}
	assert.Error(t, home.Pin("host:1", certs.Fingerprint{}))
	assert.NoFileExists(t, filepath.Join(home.Dir(), "known_servers"))
}

func TestADamagedKnownServersIsLeftAsItIs(t *testing.T) {
	home := openHome(t, t.TempDir(), certs.Env{})
	for _, text := range []string{"host:1\n", "HOST:1 " + (certs.Fingerprint{}).String() + "\n", "\n"} {
		write(t, home, "known_servers", text)
		_, err := home.Pinned("host:1")
		assert.ErrorContains(t, err, "known_servers, line 1")
		assert.Error(t, home.Pin("other:1", certs.Fingerprint{1}))
		assert.Equal(t, text, read(t, home, "known_servers"))
	}
}

func TestContentsAreWhatTheFilesSay(t *testing.T) {
	empty, err := openHome(t, filepath.Join(t.TempDir(), "none"), certs.Env{}).Contents()
	require.NoError(t, err)
	assert.Equal(t, &certs.Contents{}, empty)

	home := newHome(t, certs.Env{})
	bob := userCredentials(t, home, "bob")
	write(t, home, "users/bob.crt.tmp", "cut short")
	require.NoError(t, home.Pin("host:1", certs.Fingerprint{1}))
	c, err := home.Contents()
	require.NoError(t, err)
	assert.Equal(t, bob.Authority, c.Authority)
	assert.True(t, c.Signs)
	assert.Equal(t, serverCredentials(t, home).Certificate.Leaf, c.Server)
	assert.Equal(t, "alice", c.Default)
	require.Len(t, c.Users, 2)
	assert.Equal(t, certs.UserCertificate{Name: "bob", Certificate: bob.Certificate.Leaf}, c.Users[1])
	assert.Len(t, c.Pins, 1)
}

func FuzzKnownServers(f *testing.F) {
	zero := certs.Fingerprint{}.String()
	for _, s := range []string{"", "host:1 " + zero + "\n", "[::1]:4433 " + zero + "\n", "HOST:1 " + zero, "host:1", "host:01 " + zero + "\r\n", "[fe80::1%eth0]:1 " + zero + "\nhost:2 " + zero + "\n"} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		home := openHome(t, dir, certs.Env{})
		write(t, home, "known_servers", text)
		all, err := home.Pins()
		if err != nil {
			require.Equal(t, text, read(t, home, "known_servers"))
			return
		}
		for _, p := range all {
			addr, err := certs.PinAddr(p.Addr)
			require.NoError(t, err)
			require.Equal(t, p.Addr, addr)
		}
		_, err = home.Unpin("fuzz.example:1")
		require.NoError(t, err)
		all, err = home.Pins()
		require.NoError(t, err)
		require.NoError(t, home.Pin("fuzz.example:1", certs.Fingerprint{7}), "what was read can be written")
		again, err := home.Pins()
		require.NoError(t, err)
		require.Equal(t, append(all, certs.Pin{Addr: "fuzz.example:1", Key: certs.Fingerprint{7}}), again)
	})
}

func FuzzPinAddr(f *testing.F) {
	for _, s := range []string{"", "host:1", "HOST.:1", "[::1]:1", "[::ffff:1.2.3.4]:1", "[fe80::1%eth0]:1", "1.2.3.4:65535", "a b:1", "host:+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := certs.PinAddr(s)
		if err != nil {
			return
		}
		again, err := certs.PinAddr(addr)
		require.NoError(t, err)
		require.Equal(t, addr, again)
		require.NotContains(t, addr, "\n")
		require.NotContains(t, addr, " ")
	})
}
