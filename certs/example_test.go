package certs_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/trunkline-go/trunkline/certs"
)

func Example() {
	dir, err := os.MkdirTemp("", "trunkline")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	// What a server does when it starts.
	home, err := certs.OpenHome(dir, certs.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := home.Init([]string{"chat.example"}, certs.NameFrom(`CORP\Alice`)); err != nil {
		fmt.Println(err)
		return
	}
	server, err := home.ServerCredentials()
	if err != nil {
		fmt.Println(err)
		return
	}

	// What a client presents, and what the server makes of it.
	alice, err := home.UserCredentials("")
	if err != nil {
		fmt.Println(err)
		return
	}
	chain := []*x509.Certificate{alice.Certificate.Leaf}
	id, err := server.VerifyClient(chain)
	fmt.Println(id.Name, err)

	// Once revoked, she is still who she is, and not let in.
	if err := home.Revoke("alice"); err != nil {
		fmt.Println(err)
		return
	}
	err = home.CheckRevoked(id, certs.FingerprintOf(chain[0]))
	fmt.Println(errors.Is(err, certs.ErrRevoked), err)

	// Output:
	// alice <nil>
	// true user alice is revoked
}
