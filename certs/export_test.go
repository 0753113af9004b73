package certs

// The readers of what comes from outside, for the fuzzers.
var (
	ParseKey         = parseKey
	ParseCertificate = parseCertificate
	EncodeKey        = encodeKey
	ParseRequest     = parseRequest
	ParseChain       = parseChain
)
