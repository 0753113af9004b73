package transport

import "github.com/trunkline-go/trunkline/certs"

// SetCredentials makes what a client presents and trusts from its next connection on; the one that it has
// goes on as it is. So a renewed certificate can be taken into use while the session is up. On
// a server's session it changes nothing.
func (s *Session) SetCredentials(cred *certs.Credentials) { s.cred.Store(cred) }

// SetCredentials makes what the server presents and trusts for connections that are made from now on;
// those that it has go on as they are. It may be called at any time.
func (srv *Server) SetCredentials(cred *certs.Credentials) {
	srv.clients.Store(newClientVerifier(cred))
}
