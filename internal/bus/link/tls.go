package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
)

// protocol is the name by which both ends agree on what is spoken (ALPN).
const protocol = "sallyport-bus/1"

// Files names what one end of a link needs, as PEM files: its certificate with
// what leads to the authority, its private key, and the authority whose
// certificates it believes.
type Files struct{ Cert, Key, CA string }

// Client returns the node's side of TLS.
func (f Files) Client() (*tls.Config, error) {
	c, pool, err := f.load()
	if err != nil {
		return nil, err
	}
	c.RootCAs = pool
	return c, nil
}

// Server returns the collector's side of TLS. Only clients with a certificate
// of the authority get in.
func (f Files) Server() (*tls.Config, error) {
	c, pool, err := f.load()
	if err != nil {
		return nil, err
	}
	c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return c, nil
}

func (f Files) load() (*tls.Config, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("load certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	text, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("load authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, nil, fmt.Errorf("load authority %s: no certificate in it", f.CA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
		SessionTicketsDisabled: true, // every connection shows its certificate
	}, pool, nil
}

var nodeName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
})

// NameOf returns the node's name in a certificate: its common name, without one
// its only DNS name.
func NameOf(cert *x509.Certificate) (string, error) {
	name := cert.Subject.CommonName
	if name == "" && len(cert.DNSNames) == 1 {
		name = cert.DNSNames[0]
	}
	if !nodeName().MatchString(name) {
		return "", fmt.Errorf("certificate names no node: common name %q, %d DNS names", cert.Subject.CommonName, len(cert.DNSNames))
	}
	return name, nil
}

// peerName returns the name in the certificate that the other end has shown
// and that was verified.
func peerName(c *tls.Conn) (string, error) {
	chains := c.ConnectionState().VerifiedChains
	if len(chains) == 0 || len(chains[0]) == 0 {
		return "", errors.New("no verified certificate")
	}
	return NameOf(chains[0][0])
}
