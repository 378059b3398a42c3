package field

import (
	"maps"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Each field that some session or request, or something in one, has unknown is
// known to be of that kind: lint names it, and its value is made once. No field
// is taken for one that is never unknown.
func TestUnknownsAreAll(t *testing.T) {
	listed := map[string]bool{}
	for _, known := range []map[string]*types.Unknown{unknowns, ofElements} {
		for path := range known {
			listed["session."+path] = true
		}
	}
	seen, asked := unknownAmong(SessionType, false), unknownAmong(RequestType, true)
	maps.Copy(asked, seen)
	for path := range asked {
		if !listed[path] {
			t.Errorf("%s can be unknown", path)
		}
	}
	// What only running shows, lint names apart; it is unknown of a request.
	maps.Copy(seen, unknownAmong(SessionType, true))
	for path := range listed {
		if !seen[path] {
			t.Errorf("%s is never unknown", path)
		}
	}
}

// unknownAmong returns the fields that are unknown of one of the vaguest sessions,
// or of something in one.
func unknownAmong(top *cel.Type, before bool) map[string]bool {
	out, all := map[string]bool{}, All()
	note := func(it any, typ *cel.Type) {
		for _, f := range all[typ] {
			if u := unknownIn(f.get(it)); u != nil {
				for _, path := range Paths(u) {
					out[path] = true
				}
			}
		}
	}
	for _, k := range Kinds() {
		for _, c := range Channels() {
			s := session.Session{Kind: k, Channel: c, State: session.StateEnded}
			v := &View{}
			v.Begin(&s, &s.Actor, before)
			for _, typ := range []*cel.Type{top, attributionType, targetType, unexplainedType, decisionType, apiType} {
				note(v, typ)
			}
			note(&v.who, actorType)
		}
	}
	process := session.Process{NoUID: true, NoGID: true, ArgvHash: "ff"}
	note(&process, processType)
	note(newProgram(Program{process: &process}), ProgramType)
	note(newProgram(Program{process: &process, cut: true}), ProgramType)
	note(&event.HostAccess{Partial: true}, hostAccessType)
	note(&session.Carried{Place: session.PlaceVariable}, carriedType)
	note(&session.Identity{}, identityType)
	note(&session.Evidence{}, evidenceType)
	return out
}

// unknownIn returns what is unknown of a value.
func unknownIn(v ref.Val) *types.Unknown {
	switch v := v.(type) {
	case *types.Unknown:
		return v
	case *value.List:
		return v.Rest
	}
	return nil
}
