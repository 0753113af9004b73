package certs

// The readers of PEM, for the fuzzers.
var (
	ParseKey         = parseKey
	ParseCertificate = parseCertificate
	EncodeKey        = encodeKey
)
