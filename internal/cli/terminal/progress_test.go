package terminal

import (
	"bytes"
	"testing"
	"time"
)

// TestProgressCountsTheWholeCommand: pieces that take less than a second each show what
// they are once together they take longer.
func TestProgressCountsTheWholeCommand(t *testing.T) {
	var w bytes.Buffer
	p := &progress{what: "Thinking"}
	p.start(&w, time.Now().Add(-progressAfter))
	time.Sleep(5 * progressEvery)
	p.Done()
	p.Done()
	if got := w.String(); got != "\r\x1b[KThinking\r\x1b[K" {
		t.Errorf("%q", got)
	}
	w.Reset()
	p = &progress{what: "Thinking"}
	p.start(&w, time.Now())
	p.Done()
	if w.Len() > 0 {
		t.Errorf("what is quick shows %q", w.String())
	}
}
