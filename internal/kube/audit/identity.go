package audit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// Identity is what the receiver and the API server know each other by, when
// nobody gave certificates: one for each, of a CA whose key was forgotten.
type Identity struct {
	CA                    []byte // PEM, as all of them
	Cert, Key             []byte // of the receiver
	ClientCert, ClientKey []byte // of the API server
}

// identityAge is how long the certificates are valid. They are checked only
// between two programs of one owner, who can make new ones by removing them.
const identityAge = 10 * 365 * 24 * time.Hour

// files returns the parts of an identity by the names they are kept under.
func (i *Identity) files() map[string]*[]byte {
	return map[string]*[]byte{
		"ca.crt": &i.CA, "server.crt": &i.Cert, "server.key": &i.Key, "client.crt": &i.ClientCert, "client.key": &i.ClientKey,
	}
}

// EnsureIdentity returns the identity that is kept in dir. Where there is none
// it makes one whose receiver is known under hosts, and keeps it.
func EnsureIdentity(dir string, hosts []string) (*Identity, error) {
	id, err := LoadIdentity(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if id, err = newIdentity(hosts, time.Now()); err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep identity: %w", err)
	}
	for name, data := range id.files() {
		if err := os.WriteFile(filepath.Join(dir, name), *data, 0o600); err != nil {
			return nil, fmt.Errorf("keep identity: %w", err)
		}
	}
	return id, nil
}

// LoadIdentity returns the identity that is kept in dir. Without one the error
// is fs.ErrNotExist.
func LoadIdentity(dir string) (*Identity, error) {
	id := &Identity{}
	for name, data := range id.files() {
		var err error
		if *data, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
	}
	return id, nil
}

// Options returns what a receiver needs of it.
func (i *Identity) Options(address string) (WebhookOptions, error) {
	cert, err := tls.X509KeyPair(i.Cert, i.Key)
	if err != nil {
		return WebhookOptions{}, fmt.Errorf("read identity: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(i.CA) {
		return WebhookOptions{}, errors.New("read identity: no certificate in ca.crt")
	}
	return WebhookOptions{Address: address, Certificate: cert, ClientCA: pool}, nil
}

var kubeconfig = template.Must(template.New("").Funcs(template.FuncMap{"base64": base64.StdEncoding.EncodeToString}).Parse(`# For kube-apiserver --audit-webhook-config-file. It holds a private key.
apiVersion: v1
kind: Config
clusters:
- name: sallyport
  cluster:
    server: {{.Server}}
    certificate-authority-data: {{base64 .ID.CA}}
users:
- name: kube-apiserver
  user:
    client-certificate-data: {{base64 .ID.ClientCert}}
    client-key-data: {{base64 .ID.ClientKey}}
contexts:
- name: sallyport
  context:
    cluster: sallyport
    user: kube-apiserver
current-context: sallyport
`))

// Kubeconfig returns the configuration with which an API server reaches the
// receiver at host:port.
func (i *Identity) Kubeconfig(address string) ([]byte, error) {
	var b bytes.Buffer
	err := kubeconfig.Execute(&b, struct {
		Server string
		ID     *Identity
	}{"https://" + address + "/audit", i})
	return b.Bytes(), err
}

func newIdentity(hosts []string, now time.Time) (*Identity, error) {
	ca := certificate("Sallyport audit CA", now)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	id := &Identity{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	server := certificate("Sallyport audit webhook", now)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	if id.Cert, id.Key, err = issue(server, ca, caKey); err != nil {
		return nil, err
	}
	client := certificate("kube-apiserver", now)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	id.ClientCert, id.ClientKey, err = issue(client, ca, caKey)
	return id, err
}

func certificate(name string, now time.Time) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(identityAge),
	}
}

func issue(cert, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}
