package window

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// What is remembered is bounded whatever comes, and what is forgotten is counted.
func TestMemoryIsBounded(t *testing.T) {
	m, c := New(), Count{AtLeast: 2, Within: time.Minute}
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	forgotten := uint64(0)
	for i := range 4 * keysMax {
		s := Seen{At: at.Add(time.Duration(i) * time.Second), ID: session.ID(fmt.Sprint(i)), What: fmt.Sprint(i)}
		_, forgot := m.Count(c, fmt.Sprint(i), s)
		forgotten += forgot
		m.Count(c, "same", s)
	}
	if len(m.tracks) > keysMax || m.used.Len() != len(m.tracks) {
		t.Errorf("%d keys, %d used", len(m.tracks), m.used.Len())
	}
	if n := len(m.tracks["same"].Value.(*track).steps[0]); n != 64 {
		t.Errorf("%d sessions of one key", n)
	}
	if want := uint64(3*keysMax + 1); forgotten != want {
		t.Errorf("%d keys were forgotten, want %d", forgotten, want)
	}
}
