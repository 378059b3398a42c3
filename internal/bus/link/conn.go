package link

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// conn frames messages on a connection. One goroutine receives, any send.
type conn struct {
	raw     net.Conn
	timeout time.Duration
	in      *bufio.Reader
	buf     []byte

	mu  sync.Mutex
	out []byte // guarded by mu
}

func newConn(raw net.Conn, timeout time.Duration) *conn {
	return &conn{raw: raw, timeout: timeout, in: bufio.NewReaderSize(raw, 64<<10)}
}

// receive reads a message; the other end has to say something within timeout.
func (c *conn) receive() (message, error) {
	if err := c.raw.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return message{}, err
	}
	var m message
	var err error
	m, c.buf, err = read(c.in, c.buf)
	return m, err
}

// send writes a message, all of it within timeout.
func (c *conn) send(k kind, body ...byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(k, body)
}

// sendAt writes a pong whose body is made at the last moment.
func (c *conn) sendAt(body func() []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(kindPong, body())
}

// write sends, mu held.
func (c *conn) write(k kind, body []byte) error {
	c.out = appendMessage(c.out[:0], k, body...)
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.raw.Write(c.out)
	if cap(c.out) > 1<<20 {
		c.out = nil
	}
	return err
}
