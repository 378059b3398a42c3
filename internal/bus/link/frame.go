package link

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

// Version is the version of the protocol. History:
//
//	1  2026-11  first
const Version = 1

// kind is the first byte of a message.
type kind byte

// The messages. The node speaks first.
const (
	kindHello   kind = 1 // node: hello as JSON
	kindWelcome kind = 2 // collector: welcome as JSON
	kindRefuse  kind = 3 // collector: why not, as text; then it hangs up
	kindBatch   kind = 4 // node: a batch
	kindFacts   kind = 5 // node: a batch of what still holds, with no numbers of the spool
	kindBeat    kind = 6 // node: number and time: what happened before that time has at most that number
	kindAck     kind = 7 // collector: number up to which it keeps everything
	kindPing    kind = 8 // collector: its time
	kindPong    kind = 9 // node: the ping's time, when it came, when this was sent
)

// Bounds of a message, in bytes.
const (
	messageHead = 5 // length of what follows the length, kind
	smallMax    = 4 << 10
)

// limit returns how long the body of a message may be.
func (k kind) limit() int {
	switch k {
	case kindHello, kindWelcome, kindRefuse:
		return smallMax
	case kindBatch, kindFacts:
		return bus.MaxBatch
	case kindBeat:
		return 16
	case kindAck, kindPing:
		return 8
	case kindPong:
		return 24
	}
	return -1
}

// message is one message. Body is valid until the next read.
type message struct {
	kind kind
	body []byte
}

// hello is what a node says of itself. Its name is not in it: that is in its
// certificate.
type hello struct {
	Version int          `json:"version"`
	Wire    int          `json:"wire"` // of the observations
	Spool   string       `json:"spool"`
	Boot    event.BootID `json:"boot,omitempty"`
	First   uint64       `json:"first"` // the oldest number that it still has
	Last    uint64       `json:"last"`
}

// welcome is the collector's answer.
type welcome struct {
	Version int    `json:"version"`
	Node    string `json:"node"` // the name in the certificate
	Acked   uint64 `json:"acknowledged"`
	// Fresh says that the collector knows nothing yet of what holds on the node.
	Fresh bool `json:"fresh,omitempty"`
}

// check reports why a hello cannot be answered.
func (h hello) check() error {
	switch {
	case h.Version != Version:
		return fmt.Errorf("protocol version %d, this collector speaks %d", h.Version, Version)
	case h.Wire > event.WireVersion:
		return fmt.Errorf("observations of version %d, this collector reads up to %d: update the collector first", h.Wire, event.WireVersion)
	case len(h.Spool) < 8 || len(h.Spool) > 64 || h.First == 0:
		return fmt.Errorf("no proper spool: id %q, first %d", h.Spool, h.First)
	}
	return nil
}

// appendMessage adds a message to to.
func appendMessage(to []byte, k kind, body ...byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(1+len(body)))
	return append(append(to, byte(k)), body...)
}

// numbers returns them as the body of a message.
func numbers(list ...int64) []byte {
	out := make([]byte, 0, 8*len(list))
	for _, n := range list {
		out = binary.BigEndian.AppendUint64(out, uint64(n))
	}
	return out
}

// number returns the i-th of a body's numbers. The body's length was checked.
func (m message) number(i int) int64 { return int64(binary.BigEndian.Uint64(m.body[8*i:])) }

func (m message) time(i int) time.Time { return time.Unix(0, m.number(i)).UTC() }

// parse reads a message's JSON.
func (m message) parse(v any) error {
	if err := json.Unmarshal(m.body, v); err != nil {
		return fmt.Errorf("message %d: %w", m.kind, err)
	}
	return nil
}

// read reads one message into buf, which it may grow to the limit of its kind,
// and returns it with the buffer.
func read(r io.Reader, buf []byte) (message, []byte, error) {
	var head [messageHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, buf, err
	}
	k, length := kind(head[4]), int64(binary.BigEndian.Uint32(head[:]))-1
	limit := int64(k.limit())
	fixed := k >= kindBeat && k <= kindPong
	if limit < 0 || length < 0 || length > limit || fixed && length != limit {
		return message{}, buf, fmt.Errorf("message of kind %d with %d bytes", k, length)
	}
	buf = buf[:0]
	for int64(len(buf)) < length { // grow as bytes come, not as they are announced
		n := min(length-int64(len(buf)), 64<<10)
		at := len(buf)
		buf = append(buf, make([]byte, n)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return message{}, buf, fmt.Errorf("message of kind %d: %w", k, io.ErrUnexpectedEOF)
		}
	}
	return message{k, buf}, buf, nil
}
