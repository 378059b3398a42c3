//go:build linux

package kube

import (
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
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// authority signs every certificate of a cluster.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial atomic.Int64
}

// User is someone whom the cluster knows by a client certificate. What he may
// do is for RBAC to say.
type User struct {
	Name       string
	Kubeconfig string // paths
	Cert, Key  string
}

// issue makes the authority and the certificates of the cluster's own parts.
func (c *Cluster) issue() (err error) {
	if c.authority, err = newAuthority(c.CA); err != nil {
		return err
	}
	pki := filepath.Join(c.Dir, "pki")
	if err := errors.Join(
		c.authority.serve(filepath.Join(pki, "apiserver"), "kubernetes.default.svc", "127.0.0.1", serviceAddress),
		c.authority.client(filepath.Join(pki, "kubelet-client"), "kube-apiserver-kubelet-client", "system:masters"),
		writeSigningKey(filepath.Join(pki, "sa")),
	); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		_, user := c.User("system:node:"+n.Name, "system:nodes")
		if err := errors.Join(user, c.authority.serve(filepath.Join(n.Dir, "kubelet"), n.Name, n.Address)); err != nil {
			return err
		}
	}
	_, controllers := c.User("system:kube-controller-manager")
	_, scheduler := c.User("system:kube-scheduler")
	c.Admin, err = c.User("admin", "system:masters")
	return errors.Join(err, controllers, scheduler)
}

// User issues a client certificate for a user and a kubeconfig with it. The
// same name again gets a new certificate.
func (c *Cluster) User(name string, groups ...string) (User, error) {
	base := filepath.Join(c.Dir, "users", url.PathEscape(name))
	u := User{Name: name, Kubeconfig: c.userFile(name), Cert: base + ".crt", Key: base + ".key"}
	if err := c.authority.client(base, name, groups...); err != nil {
		return User{}, fmt.Errorf("issue certificate of %s: %w", name, err)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, c.Server, c.CA, u.Cert, u.Key)
	return u, os.WriteFile(u.Kubeconfig, []byte(text), 0o600)
}

// userFile is where the kubeconfig of a user is.
func (c *Cluster) userFile(name string) string {
	return filepath.Join(c.Dir, "users", url.PathEscape(name)+".kubeconfig")
}

func newAuthority(file string) (*authority, error) {
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial.Add(1)), Subject: pkix.Name{CommonName: "sallyport-test"},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.cert = template
	der, err := a.sign(template, a.key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, writePEM(file, "CERTIFICATE", der)
}

// sign makes a certificate that is valid for a day.
func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	return x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
}

// serve writes BASE.crt and BASE.key of a server that is known by names, which
// may be addresses.
func (a *authority) serve(base string, names ...string) error {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return a.write(base, t)
}

// client writes BASE.crt and BASE.key of a user.
func (a *authority) client(base, user string, groups ...string) error {
	return a.write(base, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) write(base string, t *x509.Certificate) error {
	t.SerialNumber = big.NewInt(a.serial.Add(1))
	t.KeyUsage = x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := a.sign(t, key)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(base+".crt", "CERTIFICATE", der), writeKey(base+".key", key))
}

// writeSigningKey writes the key of service accounts' tokens.
func writeSigningKey(base string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(base+".pub", "PUBLIC KEY", der), writeKey(base+".key", key))
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
