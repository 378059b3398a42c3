package export_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/jsonl"
	"github.com/sallyport/sallyport/internal/export/otlp"
	"github.com/sallyport/sallyport/internal/export/post"
	"github.com/sallyport/sallyport/internal/export/redact"
	"github.com/sallyport/sallyport/internal/export/syslog"
	"github.com/sallyport/sallyport/internal/lib/webhook"
)

var origin = export.Origin{Host: "edge1", Version: "1.2.3"}

// pki is an authority with a server's and a client's certificate.
type pki struct {
	pool           *x509.CertPool
	server, client tls.Certificate
}

func newPKI(t *testing.T) pki {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey := key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issue := func(serial int64, tmpl *x509.Certificate, k *ecdsa.PrivateKey) tls.Certificate {
		tmpl.SerialNumber = big.NewInt(serial)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &k.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
	}
	root, err := x509.ParseCertificate(issue(1, ca, caKey).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	p := pki{pool: x509.NewCertPool()}
	p.pool.AddCert(root)
	p.server = issue(2, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key())
	p.client = issue(3, &x509.Certificate{
		Subject: pkix.Name{CommonName: "edge1"}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key())
	return p
}

func (p pki) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{p.client}, MinVersion: tls.VersionTLS12}
}

func (p pki) serverTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.server}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
}

// collected is what a receiver has taken.
type collected struct {
	mu  sync.Mutex
	got []int64
}

func (c *collected) add(list ...int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, list...)
}

func (c *collected) positions() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int64(nil), c.got...)
}

func readLines(t testing.TB, body io.Reader) (out []int64) {
	in := bufio.NewScanner(body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r export.Record
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			t.Errorf("%s: %v", in.Bytes(), err)
		}
		out = append(out, r.Position)
	}
	return out
}

// TestWebhook has a receiver with TLS that wants a client's certificate, checks
// signature and time, fails now and then, takes a body and drops the connection
// before it answers, and asks to be left alone.
func TestWebhook(t *testing.T) {
	const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	key := []byte("0123456789abcdef0123456789abcdef")
	var got collected
	var n atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if err := verify(key, req.Header, body); err != nil {
			t.Error(err)
		}
		switch n.Add(1) % 5 {
		case 1:
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		case 2:
			w.Header().Set("Retry-After", "0")
			http.Error(w, "too many", http.StatusTooManyRequests)
			return
		}
		got.add(readLines(t, strings.NewReader(string(body)))...)
		if n.Load()%5 == 3 {
			panic(http.ErrAbortHandler) // taken, and never said
		}
	}))
	p := newPKI(t)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of the client without a certificate
	srv.TLS = p.serverTLS()
	srv.StartTLS()
	defer srv.Close()
	s, err := webhook.NewSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	d, err := post.New(post.Options{URL: srv.URL, Format: jsonl.New(), TLS: p.clientTLS(), Secret: s})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e, stop := start(t, options(t, t.TempDir(), &source{n: 200}, d))
	eventually(t, "200 records", func() bool { return complete(got.positions(), 200) && e.Stats().Waiting == 0 })
	stop()
	if st := e.Stats(); st.Retries == 0 || st.Dead+st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	other, err := post.New(post.Options{URL: srv.URL, Format: jsonl.New(), TLS: &tls.Config{RootCAs: p.pool}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Send(t.Context(), []export.Record{record(1)}); err == nil {
		t.Error("sent without the certificate that the receiver wants")
	}
}

// verify does what a receiver of Standard Webhooks does.
func verify(key []byte, h http.Header, body []byte) error {
	at, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > webhook.Window {
		return fmt.Errorf("timestamp %q", h.Get("webhook-timestamp"))
	}
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%d.%s", h.Get("webhook-id"), at, body)
	want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	if !hmac.Equal([]byte(want), []byte(h.Get("webhook-signature"))) {
		return fmt.Errorf("signature %q of %d bytes", h.Get("webhook-signature"), len(body))
	}
	return nil
}

func TestOTLPReceiver(t *testing.T) {
	var got collected
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var data logspb.LogsData
		if err == nil {
			err = proto.Unmarshal(body, &data)
		}
		if err != nil || req.URL.Path != "/v1/logs" || req.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", req.URL, req.Header.Get("Content-Type"), err)
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		for _, r := range data.GetResourceLogs() {
			for _, l := range r.GetScopeLogs()[0].GetLogRecords() {
				got.add(int64(l.GetTimeUnixNano() / 1e9))
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write([]byte{0x0a, 0x00}) // partial_success, nothing rejected
	}))
	defer srv.Close()
	d, err := post.New(post.Options{URL: srv.URL + "/v1/logs", Format: otlp.New(origin), Accept: otlp.Partly, BodyBytes: 4000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, stop := start(t, options(t, t.TempDir(), &source{n: 120}, d))
	eventually(t, "120 records", func() bool { return complete(got.positions(), 120) })
	stop()
}

// syslogServer listens with TLS and reads octet-counted messages. With killed
// connections it resets each one after a few messages, as a process does that
// dies with something unread.
type syslogServer struct {
	collected
	net.Listener
	kills atomic.Int64 // connections still to be reset
	wg    sync.WaitGroup
}

func listenSyslog(t *testing.T, address string, c *tls.Config) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &syslogServer{Listener: l}
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(t, conn.(*net.TCPConn), c) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *syslogServer) stop() {
	_ = s.Close()
	s.wg.Wait()
}

func (s *syslogServer) serve(t *testing.T, raw *net.TCPConn, c *tls.Config) {
	conn := tls.Server(raw, c)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		if n == 3 && s.kills.Add(-1) >= 0 {
			_ = raw.SetLinger(0)
			_ = raw.Close()
			return
		}
		head, err := in.ReadString(' ')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSpace(head))
		if err != nil || size < 1 || size > syslog.MaxMessage {
			t.Errorf("length %q: %v", head, err)
			return
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(in, text); err != nil {
			return
		}
		m, err := rfc5424.NewParser().Parse(text)
		if err != nil {
			t.Errorf("%v in %q", err, text)
			return
		}
		id := (*m.(*rfc5424.SyslogMessage).StructuredData)["session@32473"]["id"]
		p, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			t.Errorf("id %q", id)
		}
		s.add(p)
	}
}

// TestSyslogOverTLS has a receiver that dies in the middle of batches, goes away
// and comes back: nothing is lost.
func TestSyslogOverTLS(t *testing.T) {
	p := newPKI(t)
	srv := listenSyslog(t, "127.0.0.1:0", p.serverTLS())
	srv.kills.Store(4)
	address := srv.Addr().String()
	d, err := syslog.New(syslog.Options{Address: address, Origin: origin, TLS: p.clientTLS(), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s := &source{n: 100}
	e, stop := start(t, options(t, t.TempDir(), s, d))
	eventually(t, "100 records", func() bool { return complete(srv.positions(), 100) && e.Stats().Waiting == 0 })
	if st := e.Stats(); st.Retries < 4 {
		t.Errorf("%+v", st)
	}
	srv.stop()
	s.grow(30)
	eventually(t, "failing attempts", func() bool { return !e.Stats().FailingSince.IsZero() && e.Stats().Waiting == 30 })
	again := listenSyslog(t, address, p.serverTLS())
	eventually(t, "the other 30", func() bool { return len(again.positions()) >= 30 && e.Stats().Waiting == 0 })
	stop()
	if all := append(srv.positions(), again.positions()...); !complete(all, 130) || e.Stats().Dead+e.Stats().Dropped != 0 {
		t.Errorf("%d came, %+v", len(all), e.Stats())
	}
	wrong, err := syslog.New(syslog.Options{Address: address, Origin: origin, TLS: &tls.Config{RootCAs: p.pool, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	if err := wrong.Send(t.Context(), []export.Record{record(1)}); err == nil {
		t.Error("sent without the certificate that the receiver wants")
	}
}

const childRecords = 600

// child is the process that TestNothingIsLostByKill kills.
func child(dir, url string) {
	x, err := redact.New(redact.Rules{})
	if err != nil {
		panic(err)
	}
	d, err := post.New(post.Options{URL: url, Format: jsonl.New()})
	if err != nil {
		panic(err)
	}
	e, err := export.New(export.Options{
		Name: "child", Source: &source{n: childRecords}, Destination: d, Redactor: x, Dir: dir, Start: -1, Poll: 2 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, BatchRecords: 7,
	})
	if err != nil {
		panic(err)
	}
	panic(e.Run(context.Background()))
}

// TestNothingIsLostByKill kills the exporting process again and again, at
// moments that the receiver chooses.
func TestNothingIsLostByKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var got collected
	var running atomic.Pointer[os.Process]
	var requests atomic.Int64
	kills := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n := requests.Add(1)
		if n%16 == 3 {
			_ = running.Load().Kill() // before it is taken
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		got.add(readLines(t, req.Body)...)
		if n%16 == 11 {
			_ = running.Load().Kill() // taken, and the answer comes too late
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	for !complete(got.positions(), childRecords) && kills < 100 {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), "EXPORT_TEST_CHILD="+dir, "EXPORT_TEST_URL="+srv.URL)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running.Store(cmd.Process)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for done := false; !done; {
			select {
			case <-ended:
				done = true
			case <-time.After(5 * time.Millisecond):
				if complete(got.positions(), childRecords) {
					_ = cmd.Process.Kill()
				}
			}
		}
		kills++
	}
	all := got.positions()
	if !complete(all, childRecords) || kills < 5 {
		t.Fatalf("%d arrivals after %d kills", len(all), kills)
	}
	t.Logf("%d records, %d arrivals, %d kills", childRecords, len(all), kills)
}
