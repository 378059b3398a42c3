package settings_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/kube/settings"
)

// certificate is one of a user, in PEM.
func certificate(t *testing.T, user string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: user, Organization: []string{"devs"}}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestKubeconfigsNameTheirUser: by the certificate of the current context alone.
func TestKubeconfigsNameTheirUser(t *testing.T) {
	root := t.TempDir()
	cert := certificate(t, "jane")
	config := func(current, user string) string {
		return "kind: Config\ncurrent-context: " + current + "\ncontexts: [{name: c, context: {user: u}}]\nusers:\n- name: u\n  user: " + user + "\n"
	}
	data := "{client-certificate-data: " + base64.StdEncoding.EncodeToString(cert) + "}"
	write(t, root, "etc/kubernetes/a.conf", config("c", data), 0o640)
	write(t, root, "etc/kubernetes/b.conf", config("c", "{client-certificate: pki/jane.crt}"), 0o600)
	write(t, root, "etc/kubernetes/c.conf", config("other", data), 0o600)
	write(t, root, "etc/kubernetes/d.conf", config("c", "{token: t}"), 0o600)
	write(t, root, "etc/kubernetes/e.conf", "{", 0o600)
	write(t, root, "etc/kubernetes/pki/jane.crt", string(cert), 0o644)
	write(t, root, "home/joe/.kube/config", config("c", data), 0o600)
	files, unread := settings.Files(os.DirFS(root))
	got := ""
	for _, f := range files {
		got += f.Path + " " + f.Actor + "\n"
		if f.UID != uint32(os.Getuid()) {
			t.Errorf("%s: user %d", f.Path, f.UID)
		}
	}
	const want = "/etc/kubernetes/a.conf user:jane\n/etc/kubernetes/b.conf user:jane\n/etc/kubernetes/c.conf \n/etc/kubernetes/d.conf \n/etc/kubernetes/e.conf \n/home/joe/.kube/config user:jane\n"
	if got != want || len(unread) != 0 {
		t.Errorf("got\n%s\nunread %v", got, unread)
	}
}
