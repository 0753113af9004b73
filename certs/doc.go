// Package certs says who is who in a Trunkline house: the authority that signs,
// the identities it signs, how one side of a session checks the other, and the
// folder in which all of that is kept.
//
// # Identities
//
// An identity is a SPIFFE ID in the single URI SAN of a certificate, as in the
// X.509-SVID specification. A house has two kinds:
//
//	spiffe://DOMAIN/server       the server, whatever address it is reached by
//	spiffe://DOMAIN/user/alice   a person or a program, good for clients alone
//
// DOMAIN is 128 random bits, drawn when the authority is made and kept for its
// life. An authority signs for its own domain only, and its certificate says so
// in a critical name constraint (RFC 5280, section 4.2.1.10).
//
// # Verification
//
// [Credentials] is what one side presents and trusts. VerifyClient and
// VerifyServer take the certificates of the peer and answer with its [ID], or
// with a [VerifyError] that carries the fingerprints a person needs to see. Host
// names play no part: the pinned authority and the identity decide.
//
// # The home
//
// [Home] is a folder, usually that of [DefaultHomeDir]:
//
//	authority.key  authority.crt   the authority; where only authority.crt is, it is a pin. After a rotation
//	                               authority.crt has the cross certificate and the former authority, too
//	authority.next.key             the key of a rotation that has not come to its end
//	server.key     server.crt      the identity of the server
//	users/NAME.key users/NAME.crt  the identities of users
//	default                        the name of the default user
//	server                         where a home that joined looks for its server: "HOST:PORT"
//	issued                         every key signed for a user: "FINGERPRINT NAME UNTIL AUTHORITY"
//	revoked                        what is denied: "name NAME" and "key FINGERPRINT NAME"
//	invites                        join tokens, by hash, and what became of them
//	joining/HASH.key               the key of a join that has not come to its end
//	known_servers                  authorities pinned by hand: "HOST:PORT FINGERPRINT"
//	reset.key                      the server's stateless reset key, 32 bytes in hex
//	serve.lock     update.lock     locks; the operating system frees them after a crash
//
// Keys are PKCS#8 in PEM but for reset.key, with mode 0600; a key is created once and never
// overwritten, but for the authority's by a rotation. Every file appears whole or not at all, also through a power cut,
// and whatever was cut short is completed by the next call that needs it. A file
// that cannot be understood is an error that names it, and is left as it is. The
// modes are checked on Unix; on Windows the folder inherits the access list of
// the user's profile.
//
// # Joining
//
// [Home.Invite] makes a [Token], of which the home of the authority keeps the hash. On another machine
// [Home.StartJoin] makes a key, and a request that goes with the token's secret to a server of the token's
// authority, which answers with what [Home.Redeem] certifies; [Joining.Finish] keeps that. Each step can be
// repeated, from wherever it was cut short.
//
// # Renewal and revocation
//
// A certificate is renewed from [RenewAt] on: by [Home.Init] and [Home.UserCredentials] where the authority is, and
// elsewhere with [Home.Renew] there and [Home.KeepRenewed] here. [Home.Revoke] denies a name and its keys, in a file;
// [Home.CheckRevoked] reads it, and [Home.WatchRevoked] tells a server whose sessions it has to end.
//
// # Rotation
//
// [Home.Rotate] gives the authority a successor, with a key of its own, that the key before signs for with its last breath. Until
// what it had signed has expired, or [Home.FinishRotation], both are trusted: that is the overlap. Whoever has pinned the one before goes
// over to the successor by that signature, and by nothing else: [Home.Follow] and [Home.KeepRenewed]. Servers learn of it by
// [Home.WatchAuthority], and of whom they have to send away when it is over by [Home.Certified].
//
// # Limits
//
// No file of more than 1 MiB is read or written. For issued that is room for
// 5500 keys at the least, for revoked 7000.
package certs
