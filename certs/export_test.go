package certs

// The readers of what comes from outside, for the fuzzers.
var (
	ParseKey         = parseKey
	ParseCertificate = parseCertificate
	EncodeKey        = encodeKey
	ParseRequest     = parseRequest
	ParseChain       = parseChain
)

// ReadAuthorities reads what authority.crt has, and returns it as it would be written.
func ReadAuthorities(data []byte) ([]byte, error) {
	as, err := parseAuthorities(data)
	if err != nil {
		return nil, err
	}
	return as.encode(), nil
}

// WriteAuthorities returns what authority.crt has for the authority.
func WriteAuthorities(a *Authority) []byte { return a.encode() }
