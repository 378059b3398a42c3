package session

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestWireFormLosesNothing: argument lists hold any bytes; other strings hold
// valid UTF-8.
func TestWireFormLosesNothing(t *testing.T) {
	gen := rapid.MakeCustom[Session](values())
	rapid.Check(t, func(t *rapid.T) {
		want := gen.Draw(t, "session")
		for i := range want.Processes { // written once, as pid
			want.Processes[i].ID.PID = want.Processes[i].PID
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Session
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\n%s", diff, b)
		}
		again, err := json.Marshal(got)
		if err != nil || string(again) != string(b) {
			t.Fatalf("written again it is another text: %v\n%s\n%s", err, b, again)
		}
	})
}

func values() rapid.MakeConfig {
	hostile := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "\x00", "\x1b[2J\x1b[31m", "\xff\xfe", "a\x80b", `"';--`, "\u2028", "line\nbreak", strings.Repeat("x\x00", 1000),
	}))
	argv, text := rapid.SliceOfN(hostile, 0, 4).AsAny(), hostile.AsAny()
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 250e9).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
	})
	c := rapid.MakeConfig{
		Types: map[reflect.Type]*rapid.Generator[any]{
			reflect.TypeFor[time.Time](): at.AsAny(),
			// Lists of structs as long as real ones would take rapid minutes.
			reflect.TypeFor[[]Evidence](): rapid.SliceOfN(rapid.Map(at, func(t time.Time) Evidence {
				return Evidence{Time: t, Witness: event.WitnessDocker, What: "docker_event exec_create"}
			}), 0, 2).AsAny(),
		},
		Fields: map[reflect.Type]map[string]*rapid.Generator[any]{
			reflect.TypeFor[Session](): {"Argv": argv, "Path": text},
			reflect.TypeFor[Actor]():   {"Argv": argv, "Exe": text},
			reflect.TypeFor[Process](): {"Argv": argv, "Exe": text, "Filename": text},
			reflect.TypeFor[Program](): {"Argv": argv, "Exe": text},
		},
	}
	c.Types[reflect.TypeFor[[]Program]()] = rapid.SliceOfN(rapid.MakeCustom[Program](c), 0, 2).AsAny()
	c.Types[reflect.TypeFor[[]Process]()] = rapid.SliceOfN(rapid.MakeCustom[Process](c), 0, 3).AsAny()
	c.Types[reflect.TypeFor[[]Actor]()] = rapid.SliceOfN(rapid.MakeCustom[Actor](c), 0, 3).AsAny()
	return c
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"id":"a","argv_base64":["/w=="],"processes":[{"pid":1,"start_boot":2,"argv":["x"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, back Session
		if json.Unmarshal(b, &s) != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Skip(err) // a time that RFC 3339 cannot write
		}
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatalf("%s cannot be read again: %v", again, err)
		}
	})
}
