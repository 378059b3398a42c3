package docker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// probeTimeout bounds each of a probe's connections, of which there are four at most.
const probeTimeout = 2 * time.Second

// Access is what a TCP port asks of who comes.
type Access struct {
	// Docker says that the Docker API answered somebody who had not said who he is.
	Docker inventory.Answer
	// TLS says that the port speaks TLS, ClientCert that it insists on a
	// certificate.
	TLS, ClientCert inventory.Answer
	// Why says what stood in the way of knowing.
	Why error
}

// Probe tries out what the port at address asks for: a TLS handshake without a
// certificate, and one GET of /_ping, which changes nothing. An address of all
// interfaces is tried on the loopback.
func Probe(ctx context.Context, address netip.AddrPort) Access {
	if address.Addr().IsUnspecified() {
		ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if address.Addr().Is6() {
			ip = netip.IPv6Loopback()
		}
		address = netip.AddrPortFrom(ip, address.Port())
	}
	// In TLS 1.2 the server has judged the client when the handshake is done; in 1.3
	// only its first answer tells.
	a, again := probe(ctx, address, tls.VersionTLS12)
	if again {
		a, again = probe(ctx, address, tls.VersionTLS13)
	}
	if a.Why != nil && !again && ctx.Err() == nil { // a reset may have overtaken the server's word
		a, _ = probe(ctx, address, tls.VersionTLS13)
	}
	return a
}

// probe tries one version of TLS. again says that the server does not speak it.
func probe(ctx context.Context, address netip.AddrPort, version uint16) (a Access, again bool) {
	conn, err := connect(ctx, address)
	if err != nil {
		return Access{Why: err}, false
	}
	defer conn.Close()
	asked := false
	secure := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // nothing is told to the server, and nothing it says is believed but that it asks
		MinVersion:         version, MaxVersion: version,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		},
	})
	err = secure.HandshakeContext(ctx)
	if err == nil {
		a.TLS = inventory.Yes
		var answered bool
		if answered, err = ping(secure); err == nil {
			a.Docker, a.ClientCert = inventory.AnswerOf(answered), inventory.No
			return a, false
		}
	}
	return refused(ctx, address, a, asked, err)
}

// refused says what an error of a handshake, or behind it, means.
func refused(ctx context.Context, address netip.AddrPort, a Access, asked bool, err error) (Access, bool) {
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &plain):
		return unencrypted(ctx, address), false
	case strings.Contains(err.Error(), "protocol version"):
		return Access{Why: err}, true
	case asked && strings.Contains(err.Error(), "remote error: tls"):
		return Access{TLS: inventory.Yes, ClientCert: inventory.Yes}, false
	}
	a.Why = err
	return a, false
}

// unencrypted asks a port that speaks no TLS.
func unencrypted(ctx context.Context, address netip.AddrPort) Access {
	a := Access{TLS: inventory.No, ClientCert: inventory.No}
	conn, err := connect(ctx, address)
	if err != nil {
		a.Why = err
		return a
	}
	defer conn.Close()
	answered, err := ping(conn)
	a.Docker, a.Why = inventory.AnswerOf(answered), err
	if err != nil {
		a.Docker = inventory.Unknown
	}
	return a
}

func connect(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Timeout: probeTimeout}
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(probeTimeout))
}

// ping asks for /_ping and reports whether a Docker daemon answered: one that
// refuses says so in its own way, too.
func ping(conn io.ReadWriter) (bool, error) {
	if _, err := io.WriteString(conn, "GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: sallyport\r\nConnection: close\r\n\r\n"); err != nil {
		return false, err
	}
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 64<<10)), nil)
	if err != nil {
		return false, fmt.Errorf("answer to a ping: %w", err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	return strings.HasPrefix(res.Header.Get("Server"), "Docker/") || res.Header.Get("Api-Version") != "" || bytes.Contains(body, []byte("authorization denied")), nil
}
