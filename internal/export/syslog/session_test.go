package syslog_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/syslog"
	"github.com/sallyport/sallyport/testbed"
)

// TestNothingIsResumed: rsyslog on OpenSSL, asking for a certificate, refused every
// second batch, with "session id context uninitialized".
func TestNothingIsResumed(t *testing.T) {
	dir := t.TempDir()
	testbed.Certificates(t, dir)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	certificates := []tls.Certificate{pair}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const batches = 3
	resumed := make(chan bool, batches)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, conn)
			resumed <- conn.(*tls.Conn).ConnectionState().DidResume
			_ = conn.Close()
		}
	}()
	d, err := syslog.New(syslog.Options{
		Address: l.Addr().String(), Origin: exporttest.Origin(), Timeout: 10 * time.Second,
		TLS: &tls.Config{RootCAs: pool, Certificates: certificates, ClientSessionCache: tls.NewLRUClientSessionCache(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range batches {
		if err := d.Send(t.Context(), exporttest.Records()); err != nil {
			t.Fatal(err)
		}
		if <-resumed {
			t.Error("a session was resumed")
		}
	}
}
