package link

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority signs the certificates of a small set-up. Its key lies beside its
// certificate in plain text: whoever can read it can be any node.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// How long certificates are valid, and the names of the authority's files.
const (
	authorityValid   = 10 * 365 * 24 * time.Hour
	certificateValid = 825 * 24 * time.Hour

	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
)

// OpenAuthority returns the authority in a directory, and makes directory and
// authority when there are none.
func OpenAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	a := &Authority{dir: dir}
	cert, err := os.ReadFile(filepath.Join(dir, AuthorityCert))
	if errors.Is(err, os.ErrNotExist) {
		return a, a.make()
	}
	var key []byte
	if err == nil {
		key, err = os.ReadFile(filepath.Join(dir, AuthorityKey))
	}
	if err == nil {
		err = a.parse(cert, key)
	}
	if err != nil {
		return nil, fmt.Errorf("open authority %s: %w", dir, err)
	}
	return a, nil
}

func (a *Authority) parse(cert, key []byte) (err error) {
	c, _ := pem.Decode(cert)
	k, _ := pem.Decode(key)
	if c == nil || k == nil {
		return errors.New("no PEM in its files")
	}
	if a.cert, err = x509.ParseCertificate(c.Bytes); err != nil {
		return err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return err
	}
	var ok bool
	if a.key, ok = parsed.(crypto.Signer); !ok {
		return errors.New("its key cannot sign")
	}
	return nil
}

func (a *Authority) make() error {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Sallyport nodes"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	key, der, err := sign(template, authorityValid, template, nil)
	if err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("make authority: %w", err)
	}
	a.key = key
	return writePair(filepath.Join(a.dir, AuthorityCert), filepath.Join(a.dir, AuthorityKey), der, key)
}

// Collector makes a certificate by which nodes know the collector: for the
// names and addresses by which they reach it.
func (a *Authority) Collector(names ...string) (Files, error) {
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return a.issue("collector", template)
}

// CheckNode reports why no node can have a name.
func CheckNode(name string) error {
	if !nodeName().MatchString(name) {
		return fmt.Errorf("%q is no name for a node: letters, digits, points, hyphens", name)
	}
	return nil
}

// Node makes a certificate by which the collector knows a node.
func (a *Authority) Node(name string) (Files, error) {
	if err := CheckNode(name); err != nil {
		return Files{}, err
	}
	return a.issue("node-"+name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *Authority) issue(file string, template *x509.Certificate) (Files, error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	key, der, err := sign(template, certificateValid, a.cert, a.key)
	if err != nil {
		return Files{}, fmt.Errorf("issue certificate %s: %w", file, err)
	}
	f := Files{
		Cert: filepath.Join(a.dir, file+".crt"), Key: filepath.Join(a.dir, file+".key"), CA: filepath.Join(a.dir, AuthorityCert),
	}
	return f, writePair(f.Cert, f.Key, der, key)
}

// sign makes a key and a certificate for it; without by it signs itself.
func sign(template *x509.Certificate, valid time.Duration, parent *x509.Certificate, by crypto.Signer) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	template.NotBefore = time.Now().Add(-time.Hour) // clocks differ
	template.NotAfter = time.Now().Add(valid)
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	return key, der, err
}

// writePair writes a certificate and its key; a file that is there is left
// alone and is an error.
func writePair(certFile, keyFile string, der []byte, key crypto.Signer) error {
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, &pem.Block{Type: "PRIVATE KEY", Bytes: text}); err != nil {
		return err
	}
	return writeNew(certFile, &pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func writeNew(name string, b *pem.Block) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, b), f.Close())
}

// Remove deletes an issued certificate and its key, so that another can be
// issued: "collector" or "node-NAME".
func (a *Authority) Remove(file string) error {
	return errors.Join(os.Remove(filepath.Join(a.dir, file+".crt")), os.Remove(filepath.Join(a.dir, file+".key")))
}
