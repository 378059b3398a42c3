package link

import (
	"bytes"
	"testing"
)

func TestMessages(t *testing.T) {
	wire := appendMessage(nil, kindAck, numbers(42)...)
	wire = appendMessage(wire, kindRefuse, []byte("no")...)
	r := bytes.NewReader(wire)
	m, buf, err := read(r, nil)
	if err != nil || m.kind != kindAck || m.number(0) != 42 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, _, err = read(r, buf); err != nil || m.kind != kindRefuse || string(m.body) != "no" {
		t.Errorf("%+v, %v", m, err)
	}
}

// FuzzRead: whatever comes is a message within its bounds or an error, and
// memory grows with what came, not with what was announced.
func FuzzRead(f *testing.F) {
	f.Add(appendMessage(nil, kindPong, numbers(1, 2, 3)...))
	f.Add(appendMessage(nil, kindHello, []byte(`{"version":1}`)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 4})
	f.Add([]byte{0, 0x40, 0, 0, 4, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, p []byte) {
		var buf []byte
		r := bytes.NewReader(p)
		for {
			m, grown, err := read(r, buf)
			buf = grown
			if cap(buf) > len(p)+(256<<10) {
				t.Errorf("%d bytes of memory for %d bytes", cap(buf), len(p))
			}
			if err != nil {
				return
			}
			if len(m.body) > m.kind.limit() || m.kind.limit() < 0 {
				t.Errorf("kind %d with %d bytes", m.kind, len(m.body))
			}
			switch m.kind {
			case kindHello:
				var h hello
				if m.parse(&h) == nil {
					_ = h.check()
				}
			case kindPong:
				_ = m.time(2)
			}
		}
	})
}
