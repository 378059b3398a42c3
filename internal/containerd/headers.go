package containerd

import (
	"bytes"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport/sallyport/internal/core/event"
)

// tableSize is the size of the header table that servers offer, in bytes: the
// protocol's default, which gRPC servers leave as it is.
const tableSize = 4096

// maxField bounds one header field, in bytes.
const maxField = 16 << 10

// unknownField is the name of fields that were agreed on before we listened.
const unknownField = "?"

// headers decodes the header blocks of one connection.
type headers struct {
	decoder *hpack.Decoder
	block   []byte // of the request at hand
	open    uint32 // the stream whose block is not finished, 0 when none is
	flags   uint8  // of the frame that began the block
	lost    bool   // some of the block was not seen
	path    string
	ns      string
	agent   string
}

// newHeaders returns a decoder with an empty table. When the peers have agreed
// on fields before, the table begins with entries of no meaning instead: entries
// are counted from the newest, so those that come from now on are found, and
// the smallest possible ones are never pushed out before a real one.
func newHeaders(unknown bool) headers {
	d := hpack.NewDecoder(tableSize, func(hpack.HeaderField) {})
	d.SetMaxStringLength(maxField)
	if unknown {
		entry := []byte{0x40, 1, unknownField[0], 0} // literal with incremental indexing
		d.Write(bytes.Repeat(entry, tableSize/33))   // cannot fail
		d.Close()
	}
	return headers{decoder: d}
}

// decode reads a whole block.
func (h *headers) decode() error {
	h.path, h.ns, h.agent = "", "", ""
	set := func(to *string, v string) {
		if *to == "" { // the first one counts, as with the services
			*to = v
		}
	}
	unknown := false
	h.decoder.SetEmitFunc(func(f hpack.HeaderField) {
		switch f.Name {
		case ":path":
			set(&h.path, f.Value)
		case "containerd-namespace":
			set(&h.ns, f.Value)
		case "user-agent":
			set(&h.agent, f.Value)
		case unknownField:
			unknown = true
		}
	})
	_, err := h.decoder.Write(h.block)
	if err == nil {
		err = h.decoder.Close()
	}
	if unknown {
		set(&h.path, unknownField)
	}
	return err
}

// finishHeaders takes a frame of a header block.
func (c *client) finishHeaders(s *event.Segment, f frame, body []byte) {
	h := &c.headers
	if f.kind == frameHeaders {
		h.open, h.flags, h.lost = f.stream, f.flags, false
	}
	part, ok := f.payload(body)
	if !ok {
		c.lose(s)
		return
	}
	if c.gap || !c.all.memory.Hold(&h.block, part, maxBlock) {
		h.lost = true
	}
	if f.flags&flagEndHeaders == 0 {
		return
	}
	id := h.open
	h.open = 0
	c.call(s, id, h.flags&flagEndStream != 0)
}

// call begins a request: a block of headers is complete.
func (c *client) call(s *event.Segment, id uint32, last bool) {
	h := &c.headers
	c.all.stats.Calls++
	if h.lost {
		// What the block put into the table is not known, nor who asks.
		c.doubt(s)
		c.all.memory.Free(&h.block)
		*h = newHeaders(true)
		h.path = unknownField
	} else if err := h.decode(); err != nil {
		c.lose(s)
		return
	}
	c.all.memory.Free(&h.block)
	if c.calls[id] != nil { // trailers: no message will come
		c.forget(id)
		return
	}
	m := methods[h.path]
	if last || m == nil && h.path != unknownField {
		return
	}
	if len(c.calls) >= maxCalls {
		c.lose(s)
		return
	}
	c.calls[id] = &call{method: m, namespace: clip(h.ns), agent: clip(h.agent)}
}

// clip bounds a text that clients choose.
func clip(s string) string { return valid(s[:min(len(s), maxID)]) }
