package store

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestLineIsTheWireForm also fails when an observation gets a new field that
// appendLine does not write: the generator fills every field there is.
func TestLineIsTheWireForm(t *testing.T) {
	plain, hard := rapid.StringMatching(`[a-z/ ~]{0,12}`), rapid.OneOf(rapid.StringMatching(`[ -~]{0,12}`), rapid.String(),
		rapid.SampledFrom([]string{"\xff", "a\x80b", "\x00", "\u2028", "~\x7f", "<&>", `"\`}))
	word := rapid.Custom(func(t *rapid.T) string { // an observation with one rare string among its many is rare
		if rapid.IntRange(0, 15).Draw(t, "rare") == 0 {
			return hard.Draw(t, "hard")
		}
		return plain.Draw(t, "plain")
	})
	c := rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[string]():            word.AsAny(),
		reflect.TypeFor[event.Text]():        rapid.Map(word, func(s string) event.Text { return event.Text(s) }).AsAny(),
		reflect.TypeFor[event.Witness]():     rapid.Map(word, func(s string) event.Witness { return event.Witness(s) }).AsAny(),
		reflect.TypeFor[event.ContainerID](): rapid.Map(word, func(s string) event.ContainerID { return event.ContainerID(s) }).AsAny(),
		reflect.TypeFor[time.Time](): rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(-1e9, 250e9).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		}).AsAny(),
	}}
	t.Run("exec", func(t *testing.T) { checkLine[event.ProcessExec](t, c) })
	t.Run("fork", func(t *testing.T) { checkLine[event.ProcessFork](t, c) })
	t.Run("exit", func(t *testing.T) { checkLine[event.ProcessExit](t, c) })
	t.Run("kube request", func(t *testing.T) { checkLine[event.KubeRequest](t, c) })
	t.Run("other", func(t *testing.T) { checkLine[event.ClientClose](t, c) })
}

func checkLine[O event.Observation](t *testing.T, c rapid.MakeConfig) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		o := rapid.MakeCustom[O](c).Draw(t, "observation")
		want, err := event.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendLine([]byte("before"), o)
		if err != nil || string(got) != "before"+string(want) {
			t.Fatalf("got  %s (%v)\nwant before%s", got, err, want)
		}
	})
}
