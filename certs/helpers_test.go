package certs_test

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
)

// The test binary plays the other process: these variables tell it which part.
const (
	envRole = "CERTS_TEST_ROLE"
	envHome = "CERTS_TEST_HOME"
)

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role, os.Getenv(envHome)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func play(role, dir string) error {
	home, err := certs.OpenHome(dir, certs.Env{})
	if err != nil {
		return err
	}
	switch role {
	case "lock":
		if _, err := home.Lock(); err != nil {
			return err
		}
		fmt.Println("locked")
		_, err = io.Copy(io.Discard, os.Stdin) // until killed
		return err
	case "init":
		return home.Init(nil, "alice")
	case "user":
		creds, err := home.UserCredentials("bob")
		if err != nil {
			return err
		}
		fmt.Println(certs.FingerprintOf(creds.Certificate.Leaf))
		return nil
	default:
		return fmt.Errorf("unknown role %q", role)
	}
}

// otherProcess runs the test binary in that role.
func otherProcess(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envRole+"="+role, envHome+"="+dir)
	return cmd
}

// lockElsewhere returns another process that holds the lock of the home.
func lockElsewhere(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := otherProcess(t, "lock", dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return cmd
}

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// newClock starts in the year 2000, so that a look at the real time would be seen.
func newClock() *clock {
	return &clock{now: time.Date(2000, time.January, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) Env() certs.Env { return certs.Env{Now: c.Now} }

const day = 24 * time.Hour

func newAuthority(t testing.TB, env certs.Env) *certs.Authority {
	t.Helper()
	a, err := certs.NewAuthority(env)
	require.NoError(t, err)
	return a
}

func issueUser(t testing.TB, a *certs.Authority, name string) *certs.Credentials {
	t.Helper()
	creds, err := a.IssueUser(name)
	require.NoError(t, err)
	return creds
}

func issueServer(t testing.TB, a *certs.Authority) *certs.Credentials {
	t.Helper()
	creds, err := a.IssueServer([]string{"localhost"})
	require.NoError(t, err)
	return creds
}

// chainOf is what a peer of creds sees.
func chainOf(t testing.TB, creds *certs.Credentials) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range creds.Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		chain = append(chain, cert)
	}
	return chain
}

func openHome(t testing.TB, dir string, env certs.Env) *certs.Home {
	t.Helper()
	home, err := certs.OpenHome(dir, env)
	require.NoError(t, err)
	return home
}

// newHome is one whose server has started once, for alice.
func newHome(t testing.TB, env certs.Env) *certs.Home {
	t.Helper()
	home := openHome(t, filepath.Join(t.TempDir(), "home"), env)
	require.NoError(t, home.Init(nil, "alice"))
	return home
}

func serverCredentials(t testing.TB, home *certs.Home) *certs.Credentials {
	t.Helper()
	creds, err := home.ServerCredentials()
	require.NoError(t, err)
	return creds
}

func userCredentials(t testing.TB, home *certs.Home, name string) *certs.Credentials {
	t.Helper()
	creds, err := home.UserCredentials(name)
	require.NoError(t, err)
	return creds
}

func keyOf(creds *certs.Credentials) certs.Fingerprint {
	return certs.FingerprintOf(creds.Certificate.Leaf)
}

func read(t testing.TB, home *certs.Home, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(home.Dir(), name))
	require.NoError(t, err)
	return string(data)
}

func write(t testing.TB, home *certs.Home, name, data string) {
	t.Helper()
	path := filepath.Join(home.Dir(), name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
}

func remove(t testing.TB, home *certs.Home, names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, os.Remove(filepath.Join(home.Dir(), name)))
	}
}

// contents maps the files of the home, but for its locks, to what is in them.
func contents(t testing.TB, home *certs.Home) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(home.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".lock") {
			return err
		}
		name, err := filepath.Rel(home.Dir(), path)
		if err != nil {
			return err
		}
		all[filepath.ToSlash(name)] = read(t, home, name)
		return nil
	}))
	return all
}

// authorityOf takes the signing key out of a home, to forge with.
func authorityOf(t testing.TB, home *certs.Home) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, home, "authority.crt")))
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	key, err := certs.ParseKey([]byte(read(t, home, "authority.key")))
	require.NoError(t, err)
	return cert, key
}

// forge signs the template, whatever it says, with a new key.
func forge(t testing.TB, template, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(7)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}
