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
			p := &want.Processes[i]
			p.ID.PID = p.PID
			if p.NoUID { // there is nothing to be written
				p.UID = 0
			}
			if p.NoGID {
				p.GID = 0
			}
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

// reference is the wire form as encoding/json writes it.
func reference(s Session) any {
	return sessionJSON{
		plainSession: plainSession(s), argvJSON: encodeArgv(s.Argv), PathBase64: exact(s.Path),
		Actor: encodeActor(s.Actor),
		Attribution: attributionJSON{
			plainAttribution: plainAttribution(s.Attribution), Candidates: each(s.Attribution.Candidates, encodeActor),
		},
		Processes: each(s.Processes, encodeProcess),
	}
}

func encodeActor(a Actor) actorJSON {
	return actorJSON{plainActor: plainActor(a), argvJSON: encodeArgv(a.Argv), ExeBase64: exact(a.Exe)}
}

func encodeProcess(p Process) processJSON {
	w := processJSON{
		plainProcess: plainProcess(p), argvJSON: encodeArgv(p.Argv), StartBoot: p.ID.Start,
		ExeBase64: exact(p.Exe), FilenameBase64: exact(p.Filename), Execs: each(p.Execs, encodeProgram),
	}
	if p.ID.Logged() {
		w.StartBoot, w.StartLogged = 0, p.ID.Start
	}
	if !p.NoUID {
		w.UID = &p.UID
	}
	if !p.NoGID {
		w.GID = &p.GID
	}
	return w
}

func encodeProgram(p Program) programJSON {
	return programJSON{plainProgram: plainProgram(p), argvJSON: encodeArgv(p.Argv), ExeBase64: exact(p.Exe)}
}

func encodeArgv(args []string) argvJSON {
	return argvJSON{Argv: args, ArgvBase64: event.Base64Args(args)}
}

func TestAppendJSONIsTheWireForm(t *testing.T) {
	gen := rapid.MakeCustom[Session](values())
	rapid.Check(t, func(t *rapid.T) {
		s := gen.Draw(t, "session")
		want, err := json.Marshal(reference(s))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.AppendJSON([]byte("before"))
		if err != nil || string(got) != "before"+string(want) {
			t.Fatalf("%v\ngot  %s\nwant before%s", err, got, want)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	at := time.Unix(1795000000, 12345000).UTC()
	s := Session{
		ID: "eafj8sygvjy8dy7y", Kind: KindExec, Channel: event.ChannelKubeExecWS, State: StateEnded, Started: at, Ended: &at,
		Actor: Actor{
			Kind: ActorKubernetes, User: "ana@example.com", Groups: []string{"developers", "system:authenticated"}, Address: "10.99.0.7",
			UserAgent: "kubectl/v1.36.1 (linux/amd64) kubernetes/0a1b2c3", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}},
		},
		Argv:     []string{"/bin/sh", "-c", "for i in /proc/[0-9]*; do cat $i/cmdline; done"},
		Evidence: []Evidence{{Time: at, Witness: event.WitnessAudit, What: "kube_request exec started", Detail: "get \"/api/v1/namespaces/shop/pods/web/exec?command=sh&tty=true\""}},
	}
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(reference(s)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buf, err = s.AppendJSON(buf[:0]); err != nil {
				b.Fatal(err)
			}
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
			reflect.TypeFor[[]Evidence](): rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Evidence {
				return Evidence{
					Time: at.Draw(t, "time"), Witness: event.WitnessDocker, What: rapid.String().Draw(t, "what"), Detail: rapid.String().Draw(t, "detail"),
				}
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
