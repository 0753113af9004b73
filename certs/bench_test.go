package certs_test

import (
	"testing"

	"github.com/trunkline-go/trunkline/certs"
)

func BenchmarkIssueUser(b *testing.B) {
	a := newAuthority(b, certs.Env{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.IssueUser("alice"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyClient(b *testing.B) {
	a := newAuthority(b, certs.Env{})
	server, chain := issueServer(b, a), chainOf(b, issueUser(b, a, "alice"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := server.VerifyClient(chain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckRevoked(b *testing.B) {
	home := newHome(b, certs.Env{})
	if err := home.Revoke("bob"); err != nil {
		b.Fatal(err)
	}
	alice := userCredentials(b, home, "alice")
	id, key := alice.ID(), keyOf(alice)
	b.ReportAllocs()
	for b.Loop() {
		if err := home.CheckRevoked(id, key); err != nil {
			b.Fatal(err)
		}
	}
}
