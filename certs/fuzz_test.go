package certs_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-go/trunkline/certs"
)

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"", "spiffe://abc/server", "spiffe://abc/user/alice", "spiffe://abc/user/../server", "spiffe://abc/user/con", "SPIFFE://abc/server", "spiffe:///server"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := certs.ParseID(s)
		if err != nil {
			if !id.IsZero() {
				t.Fatalf("%q is an error and %v", s, id)
			}
			return
		}
		if id.String() != s {
			t.Fatalf("%q came back as %q", s, id)
		}
		if !id.IsServer() && filepath.Base(id.Name) != id.Name {
			t.Fatalf("%q is not one element of a path", id.Name)
		}
	})
}

func FuzzParseFingerprint(f *testing.F) {
	for _, s := range []string{"", "SHA256:", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fingerprint, err := certs.ParseFingerprint(s)
		if err == nil && fingerprint.String() != s {
			t.Fatalf("%q came back as %q", s, fingerprint)
		}
	})
}

func FuzzNameFrom(f *testing.F) {
	for _, s := range []string{"", "alice", `CORP\Alice`, "Jörg Müßig", "CON", "..", "a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name := certs.NameFrom(s); certs.ValidName(name) != nil {
			t.Fatalf("%q became %q", s, name)
		}
	})
}

func FuzzPEM(f *testing.F) {
	home := newHome(f, certs.Env{})
	for _, name := range []string{"authority.key", "authority.crt", "server.crt"} {
		data, err := os.ReadFile(filepath.Join(home.Dir(), name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nA: b\n\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := certs.ParseKey(data)
		if (key == nil) != (err != nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
		if err == nil {
			again, err := certs.EncodeKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := certs.ParseKey(again); err != nil {
				t.Fatal(err)
			}
		}
		cert, err := certs.ParseCertificate(data)
		if (cert == nil) != (err != nil) {
			t.Fatalf("certificate %v, error %v", cert, err)
		}
		if err == nil {
			block, _ := pem.Decode(data)
			if !bytes.Equal(block.Bytes, cert.Raw) {
				t.Fatal("the certificate is not what the file has")
			}
		}
	})
}
