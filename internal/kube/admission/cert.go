package admission

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/lib/filelock"
)

// How long certificates last, and how long before its end one is replaced.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 365 * 24 * time.Hour
	renewBefore   = 30 * 24 * time.Hour
	backdate      = time.Hour // clocks differ
)

// The files in the directory of Certificate.
const (
	authorityName = "ca"
	serverName    = "server"
)

// Certificate returns a certificate for a server that is reached under names
// (DNS names and IP addresses), and in PEM the authority that issued it. Both
// are kept in dir, made when absent, and the server's is made again when names
// or time ask for it, with the names that it had besides; the authority stays,
// because the API server knows it.
func Certificate(dir string, names []string) (cert tls.Certificate, ca []byte, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cert, nil, fmt.Errorf("keep certificates: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return cert, nil, fmt.Errorf("keep certificates: %w", err)
	}
	defer unlock()
	authority, err := loadPair(dir, authorityName)
	if errors.Is(err, fs.ErrNotExist) {
		authority, err = issue(dir, authorityName, nil, nil)
	}
	if err != nil {
		return cert, nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err = loadPair(dir, serverName)
	if err != nil || !fits(cert.Leaf, authority.Leaf, names) {
		names = slices.Concat(names, namesOf(cert.Leaf))
		if cert, err = issue(dir, serverName, &authority, names); err != nil {
			return cert, nil, fmt.Errorf("server certificate: %w", err)
		}
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate[0]}), nil
}

// lockWait bounds how long another process may take to make certificates.
const lockWait = 10 * time.Second

// lock waits until no other process makes certificates: `up` and the command that
// prints the webhook's configuration may start at once.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		got, err := filelock.Try(f)
		if got {
			return func() { _ = f.Close() }, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%s is locked by another process", file)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// loadPair reads NAME.crt and NAME.key.
func loadPair(dir, name string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// namesMax bounds the names that a certificate gathers.
const namesMax = 64

func namesOf(leaf *x509.Certificate) []string {
	if leaf == nil {
		return nil
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), namesMax)]
}

// fits reports whether leaf comes from authority, names all names and will not
// end soon.
func fits(leaf, authority *x509.Certificate, names []string) bool {
	return leaf.CheckSignatureFrom(authority) == nil && time.Until(leaf.NotAfter) > renewBefore &&
		!slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

// issue makes a key and its certificate: an authority of its own without a
// parent, else a server's.
func issue(dir, name string, parent *tls.Certificate, names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	form := form(parent == nil, names)
	signer, issuer := any(key), form
	if parent != nil {
		signer, issuer = parent.PrivateKey, parent.Leaf
	}
	der, err := x509.CreateCertificate(rand.Reader, form, issuer, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	// The key first: a certificate without its key would be taken for damaged.
	if err := write(filepath.Join(dir, name+".key"), "PRIVATE KEY", private); err != nil {
		return tls.Certificate{}, err
	}
	if err := write(filepath.Join(dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return tls.Certificate{}, err
	}
	return loadPair(dir, name)
}

func form(authority bool, names []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails (crypto/rand)
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Sallyport admission webhook"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(serverLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if authority {
		c.Subject.CommonName, c.NotAfter, c.IsCA, c.MaxPathLenZero = "Sallyport admission authority", now.Add(authorityLife), true, true
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign, nil
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	return c
}

func write(file, kind string, der []byte) error {
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// ServerTLS returns the configuration of a server with a certificate. Where
// clientCA names a file of authorities, only clients with a certificate from
// one of them are served: without that, whoever reaches the server can claim
// that anybody asks for anything.
func ServerTLS(cert tls.Certificate, clientCA string) (*tls.Config, error) {
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if clientCA == "" {
		return c, nil
	}
	pool, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, fmt.Errorf("client authority: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pool) {
		return nil, fmt.Errorf("client authority: %s holds no certificate in PEM", clientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}
