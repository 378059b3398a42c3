package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/export"
)

// Options configures a Destination. The zero value of a field means its default.
type Options struct {
	Address string // required; HOST:PORT, 6514 is TLS syslog's
	Origin  export.Origin
	TLS     *tls.Config // with the authorities of the receiver, and a certificate when it wants one
	// Enterprise is the private enterprise number in the ids of structured data.
	Enterprise int
	// Timeout bounds connecting, and sending a batch with the receiver's word
	// that it has read it. Default 30 s.
	Timeout time.Duration
}

// Destination sends records as syslog over TLS. It implements
// export.Destination.
//
// Syslog acknowledges nothing. But a receiver answers the end of a TLS stream,
// close_notify, by its own (RFC 5425, section 4.4), and it can only have read
// that end behind everything before it. So each batch has a connection, and
// counts as taken when the receiver has ended it in good order. One that is
// killed meanwhile, or has not read all, resets it instead, and the batch is sent
// again.
type Destination struct {
	opt    Options
	format export.Format
	tls    *tls.Config
}

// New returns a destination. It connects to nothing before Send.
func New(opt Options) (*Destination, error) {
	host, _, err := net.SplitHostPort(opt.Address)
	if err != nil || host == "" {
		return nil, fmt.Errorf("syslog address %q: want HOST:PORT", opt.Address)
	}
	if opt.Enterprise == 0 {
		opt.Enterprise = Enterprise
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
	}
	c := &tls.Config{}
	if opt.TLS != nil {
		c = opt.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	// Servers on OpenSSL that ask for a certificate, such as rsyslog, refuse a session
	// that is resumed unless they have set a context for it.
	c.ClientSessionCache = nil
	return &Destination{opt, Format(opt.Origin, opt.Enterprise), c}, nil
}

// Send sends records and waits for the receiver to have read them.
func (d *Destination) Send(ctx context.Context, records []export.Record) error {
	var frames []byte
	for _, r := range records {
		messages, err := d.format.Encode(r)
		if err != nil {
			return &export.Refused{Reason: err.Error()}
		}
		for _, m := range messages { // RFC 5425, section 4.3: length, blank, message
			frames = append(append(append(frames, strconv.Itoa(len(m))...), ' '), m...)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: d.tls}).DialContext(ctx, "tcp", d.opt.Address)
	if err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer conn.Close()
	if err := deliver(conn.(*tls.Conn), frames); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	return nil
}

// deliver writes all, ends the stream and waits for the other end of it.
func deliver(conn *tls.Conn, frames []byte) error {
	if _, err := conn.Write(frames); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(conn, 4096))
	switch {
	case err != nil:
		return fmt.Errorf("the receiver did not end the connection in good order: %w", err)
	case n == 4096:
		return errors.New("the receiver talks, and is no syslog receiver")
	}
	return nil
}
