package attack

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestCatalogue holds the shape of the catalogue: nothing may get lost from it
// unnoticed.
func TestCatalogue(t *testing.T) {
	got := make(map[Family]int)
	for _, c := range Channels() {
		got[c.Family]++
	}
	want := map[Family]int{
		FamilyDocker: 29, FamilyKubernetes: 35, FamilyKubelet: 12, FamilyRuntime: 11,
		FamilyHost: 14, FamilyWindows: 4, FamilyCloud: 10,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels by family (-want +got):\n%s", diff)
	}
	for _, f := range Families() {
		if want[f] == 0 {
			t.Errorf("family %s has no channel", f)
		}
	}
}

// TestCatalogueHasEveryChannelOfSessions compares with the constants of
// package event: a session must not carry a channel that the catalogue lacks.
func TestCatalogueHasEveryChannelOfSessions(t *testing.T) {
	ids := constants(t, "../event/channel.go", "Channel")
	if len(ids) < 10 {
		t.Fatalf("found only %d constants of type event.Channel", len(ids))
	}
	for _, id := range ids {
		known := slices.ContainsFunc(Channels(), func(c Channel) bool { return string(c.ID) == id })
		if !known && event.Channel(id) != event.ChannelUnknown {
			t.Errorf("event has channel %s, the catalogue does not", id)
		}
	}
}

// TestClaimedChannelsAreThoseOfSessions is the reverse for what is claimed: a
// session by an observed channel carries its id, or the one it is reported as.
func TestClaimedChannelsAreThoseOfSessions(t *testing.T) {
	ids := constants(t, "../event/channel.go", "Channel")
	for _, r := range Rows() {
		id := r.ID
		if r.As != "" {
			id = r.As
		}
		if r.Observed && !slices.Contains(ids, string(id)) {
			t.Errorf("%s is claimed as observed, but no session can carry %s", r.ID, id)
		}
	}
}

// constants returns the values of the string constants of a named type in one
// file.
func constants(t *testing.T, file, typ string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != typ {
			return true
		}
		for _, v := range spec.Values {
			if s, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil {
				values = append(values, s)
			}
		}
		return true
	})
	return values
}

func TestParseChannelsRefuses(t *testing.T) {
	const good = `{"id":"DK-X","family":"docker","way":"w","planned":"both","techniques":["T1609"]}`
	if _, err := parseChannels([]byte("[" + good + "]")); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, change := range map[string][2]string{
		"unknown field":     {`"way"`, `"why"`},
		"wrong prefix":      {`DK-X`, `RT-X`},
		"empty id":          {`DK-X`, `DK-`},
		"unknown family":    {`docker`, `dock`},
		"unknown door":      {`both`, `all`},
		"no way":            {`"w"`, `""`},
		"unknown technique": {`T1609`, `T0000`},
		"no technique":      {`"T1609"`, ``},
		"twice":             {good, good + "," + good},
		"not JSON":          {`{`, `[`},
		"trailing data":     {good, good + `],[`},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseChannels([]byte("[" + strings.Replace(good, change[0], change[1], 1) + "]")); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestParseClaimsRefuses(t *testing.T) {
	const good = `{"channel":"DK-EXEC","does":"attributed","level":"exact","as":"DK-RUN","needs":["docker"],"tests":["a/b.TestC/d"]}`
	if _, err := parseClaims([]byte("["+good+"]"), Channels()); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, change := range map[string][2]string{
		"unknown channel":       {`DK-EXEC`, `DK-NONE`},
		"reported as unknown":   {`DK-RUN`, `DK-NONE`},
		"unknown verb":          {`attributed`, `seen`},
		"level without reason":  {`attributed`, `observed`},
		"unknown level":         {`exact`, `sure`},
		"level none":            {`exact`, `none`},
		"no need":               {`"docker"`, ``},
		"unknown need":          {`"docker"`, `"luck"`},
		"names no test":         {`"a/b.TestC/d"`, ``},
		"test without package":  {`a/b.TestC/d`, `TestC`},
		"benchmark is no proof": {`a/b.TestC/d`, `a/b.BenchmarkC`},
		"unknown field":         {`"tests"`, `"test"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseClaims([]byte("["+strings.Replace(good, change[0], change[1], 1)+"]"), Channels()); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}

func TestTestName(t *testing.T) {
	tt := Test("internal/core/correlate.TestCorpus/exec-request.v2/x")
	name, sub := tt.Func()
	if tt.Package() != "internal/core/correlate" || name != "TestCorpus" || sub != "exec-request.v2/x" {
		t.Errorf("got %q %q %q", tt.Package(), name, sub)
	}
}

func TestRowOn(t *testing.T) {
	row := join(
		[]Channel{{ID: "DK-EXEC"}, {ID: "DK-RUN"}},
		[]Claim{
			{Channel: "DK-EXEC", Does: Observed, Needs: []Need{NeedDocker}},
			{Channel: "DK-EXEC", Does: Observed, Needs: []Need{NeedKernel}},
			{Channel: "DK-EXEC", Does: Attributed, Level: session.LevelSet, Needs: []Need{NeedKernel, NeedPeers}},
			{Channel: "DK-EXEC", Does: Attributed, Level: session.LevelExact, Needs: []Need{NeedDocker, NeedRequests}},
			{Channel: "DK-EXEC", Does: Guarded, Needs: []Need{NeedRequests}},
		})[0]
	if !row.Observed || row.Attributed != session.LevelExact || !row.Guarded || row.Scanned {
		t.Errorf("claimed: %+v", row)
	}
	for name, tc := range map[string]struct {
		have []Need
		want Here
	}{
		"nothing": {nil, Here{Attributed: session.LevelNone, Missing: []Need{NeedDocker, NeedKernel, NeedRequests}}},
		"docker":  {[]Need{NeedDocker}, Here{Observed: true, Attributed: session.LevelNone, Missing: []Need{NeedRequests}}},
		"peers":   {[]Need{NeedKernel, NeedPeers}, Here{Observed: true, Attributed: session.LevelSet, Missing: []Need{NeedDocker, NeedRequests}}},
		"all":     {Needs(), Here{Observed: true, Attributed: session.LevelExact}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, row.On(tc.have...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRowWithoutClaims(t *testing.T) {
	row := join([]Channel{{ID: "DK-EXEC"}}, nil)[0]
	if row.Observed || row.Attributed != session.LevelNone {
		t.Errorf("got %+v", row)
	}
	if diff := cmp.Diff(Here{Attributed: session.LevelNone}, row.On(Needs()...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
