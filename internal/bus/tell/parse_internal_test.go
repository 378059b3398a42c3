package tell

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
)

// FuzzParse: whatever a line holds, what is taken from it is a guard's.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"witness_state":{"time":"2026-11-30T12:00:00Z","witness":"guard","up":true}}`))
	f.Add([]byte(`{"docker_request":{"time":"2026-11-30T12:00:00Z","witness":"guard","id":{"conn":1,"n":0},"op":"exec_create"}}`))
	f.Add([]byte(`{"process_exit":{"time":"2026-11-30T12:00:00Z","witness":"guard"}}`))
	f.Add([]byte(`{"decision":{"time":"2026-11-30T12:00:00Z","witness":"kernel","effect":"allow"}}`))
	f.Add([]byte("null\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := parse(line)
		if err != nil {
			return
		}
		if h := o.Head(); h.Witness != event.WitnessGuard || h.Node != "" {
			t.Errorf("%+v", o)
		}
		if _, err := event.Marshal(o); err != nil {
			t.Error(err)
		}
	})
}
