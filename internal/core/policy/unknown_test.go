package policy

import (
	"maps"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
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
	seen, asked := unknownAmong(sessionType, false), unknownAmong(requestType, true)
	maps.Copy(asked, seen)
	for path := range asked {
		if !listed[path] {
			t.Errorf("%s can be unknown", path)
		}
	}
	// What only running shows, lint names apart; it is unknown of a request.
	maps.Copy(seen, unknownAmong(sessionType, true))
	for path := range listed {
		if !seen[path] {
			t.Errorf("%s is never unknown", path)
		}
	}
}

// unknownAmong returns the fields that are unknown of one of the vaguest sessions,
// or of something in one.
func unknownAmong(top *cel.Type, before bool) map[string]bool {
	out, all := map[string]bool{}, fieldsOf()
	note := func(it any, typ *cel.Type) {
		for _, f := range all[typ] {
			if u := unknownIn(f.get(it)); u != nil {
				for _, path := range unknownPaths(answer{unknown: u}) {
					out[path] = true
				}
			}
		}
	}
	for _, k := range kinds() {
		for _, c := range channels() {
			s := session.Session{Kind: k, Channel: c, State: session.StateEnded}
			v := &view{}
			v.begin(&s, &s.Actor, before)
			for _, typ := range []*cel.Type{top, attributionType, targetType, unexplainedType, decisionType, apiType} {
				note(v, typ)
			}
			note(&v.who, actorType)
		}
	}
	process := session.Process{NoUID: true, NoGID: true, ArgvHash: "ff"}
	note(&process, processType)
	note(newProgram(program{process: &process}), programType)
	note(newProgram(program{process: &process, cut: true}), programType)
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
	case *list:
		return v.rest
	}
	return nil
}
