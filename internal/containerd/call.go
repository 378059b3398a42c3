package containerd

import (
	"encoding/binary"

	"github.com/sallyport/sallyport/internal/core/event"
)

// call is a request whose message has not come whole.
type call struct {
	method           *method // nil when it is not known
	namespace, agent string
	message          []byte // with gRPC's prefix
}

// prefix is gRPC's, before each message: a flag and the length.
const prefix = 5

func (c *client) forget(stream uint32) {
	if k := c.calls[stream]; k != nil {
		c.all.memory.Free(&k.message)
		delete(c.calls, stream)
	}
}

// finishData takes a frame of a message.
func (c *client) finishData(s *event.Segment, f frame, body []byte) {
	k := c.calls[f.stream]
	if k == nil {
		return
	}
	part, ok := f.payload(body)
	if !ok {
		c.lose(s)
		return
	}
	cut := !c.all.memory.Hold(&k.message, part, maxRequest) || c.gap
	size := uint64(0)
	if len(k.message) >= prefix {
		size = prefix + uint64(binary.BigEndian.Uint32(k.message[1:]))
	}
	switch {
	case size > 0 && uint64(len(k.message)) >= size:
		c.ask(s, k, k.message[prefix:size], k.message[0] != 0)
	case cut || size > maxRequest:
		c.ask(s, k, k.message[min(prefix, len(k.message)):], true)
	case f.flags&flagEndStream == 0:
		return
	}
	c.forget(f.stream)
}

// ask reports a request. A message that is cut gives what its beginning says.
func (c *client) ask(s *event.Segment, k *call, message []byte, cut bool) {
	o := event.RuntimeRequest{UserAgent: k.agent, Cut: cut}
	if cut && len(k.message) >= prefix && k.message[0] != 0 {
		message = nil // compressed
	}
	if k.method == nil {
		if guess(message, &o) && !cut {
			c.tell(s, o)
		}
		return
	}
	o.API, o.Op = k.method.api, k.method.op
	if o.API == event.APIContainerd {
		o.Namespace = k.namespace
	}
	if !k.method.read(message, &o) {
		o.Cut = true
	}
	c.tell(s, o)
}
