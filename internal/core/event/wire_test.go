package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// values generates fields: texts and argument lists hold any bytes, other
// strings any valid UTF-8, times any nanosecond that RFC 3339 can write.
func values() rapid.MakeConfig {
	hostile := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "\x00", "\x1b[2J\x1b[31m", "\xff\xfe", "a\x80b", `"';--`, "\u2028", "line\nbreak", strings.Repeat("x\x00", 1000),
	}))
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 250e9).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
	})
	return rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[Text]():      rapid.Map(hostile, func(s string) Text { return Text(s) }).AsAny(),
		reflect.TypeFor[time.Time](): at.AsAny(),
		reflect.TypeFor[Argv](): rapid.Custom(func(t *rapid.T) Argv {
			return Argv{
				Args:      rapid.SliceOfN(hostile, 0, 4).Draw(t, "args"),
				Bytes:     rapid.Uint32().Draw(t, "bytes"),
				Truncated: rapid.Bool().Draw(t, "truncated"),
				Hash:      rapid.Uint64().Draw(t, "hash"),
			}
		}).AsAny(),
	}}
}

func observations() map[string]*rapid.Generator[Observation] {
	c := values()
	return map[string]*rapid.Generator[Observation]{
		"session_entry":     of[SessionEntry](c),
		"process_exec":      of[ProcessExec](c),
		"process_fork":      of[ProcessFork](c),
		"process_exit":      of[ProcessExit](c),
		"client_connect":    of[ClientConnect](c),
		"client_close":      of[ClientClose](c),
		"docker_event":      of[DockerEvent](c),
		"docker_container":  of[DockerContainer](c),
		"docker_exec":       of[DockerExec](c),
		"docker_request":    of[DockerRequest](c),
		"docker_answer":     of[DockerAnswer](c),
		"decision":          of[Decision](c),
		"gate_sighting":     of[GateSighting](c),
		"runtime_event":     of[RuntimeEvent](c),
		"runtime_task":      of[RuntimeTask](c),
		"runtime_request":   of[RuntimeRequest](c),
		"runtime_container": of[RuntimeContainer](c),
		"kube_request":      of[KubeRequest](c),
		"kube_admission":    of[KubeAdmission](c),
		"kube_pod":          of[KubePod](c),
		"progress":          of[Progress](c),
		"clock":             of[Clock](c),
		"witness_state":     of[WitnessState](c),
		"loss":              of[Loss](c),
		"tick":              of[Tick](c),
		"host":              of[Host](c),
	}
}

func of[O Observation](c rapid.MakeConfig) *rapid.Generator[Observation] {
	return rapid.Map(rapid.MakeCustom[O](c), func(o O) Observation { return o })
}

func TestWireFormLosesNothing(t *testing.T) {
	gens := observations()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(prototypes)), slices.Sorted(maps.Keys(gens))); diff != "" {
		t.Fatalf("this test does not know every observation: %s", diff)
	}
	for name, gen := range gens {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := gen.Draw(t, name)
				b, err := Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Unmarshal(b)
				if err != nil {
					t.Fatalf("%v in %s", err, b)
				}
				// Absent and empty lists are the same thing: absent.
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s\n%s", diff, b)
				}
			})
		})
	}
}

func TestEveryObservationHasAWireName(t *testing.T) {
	known := make(map[string]bool)
	for name, o := range prototypes {
		known[reflect.TypeOf(o).Name()] = true
		if Name(o) != name {
			t.Errorf("Name(%T) = %q, want %q", o, Name(o), name)
		}
	}
	declared := observationTypes(t)
	for _, typ := range declared {
		if !known[typ] {
			t.Errorf("%s is an observation but not in prototypes", typ)
		}
	}
	if len(declared) != len(prototypes) {
		t.Errorf("%d types have an observation method, prototypes has %d", len(declared), len(prototypes))
	}
}

// observationTypes returns the receivers of observation() in the sources.
func observationTypes(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "observation" {
				continue
			}
			types = append(types, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	return types
}

func FuzzUnmarshal(f *testing.F) {
	for _, o := range prototypes {
		b, err := Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"process_exec":{"argv":{"args":["a"],"base64":["/w=="]},"filename":{"base64":"/w=="}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Unmarshal(b)
		if err != nil {
			return
		}
		again, err := Marshal(o)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", o, err)
		}
		back, err := Unmarshal(again)
		if err != nil {
			t.Fatalf("%s cannot be read again: %v", again, err)
		}
		if diff := cmp.Diff(o, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestWithNode: every kind of observation can be said to be a node's, and is
// otherwise the same.
func TestWithNode(t *testing.T) {
	for name, o := range prototypes {
		got := WithNode(o, "alpha")
		if Name(got) != name || got.Head().Node != "alpha" {
			t.Errorf("%s became %s of node %q", name, Name(got), got.Head().Node)
		}
		if diff := cmp.Diff(o, WithNode(got, "")); diff != "" {
			t.Errorf("%s is not the same: %s", name, diff)
		}
	}
}
