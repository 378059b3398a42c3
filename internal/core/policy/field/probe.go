package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// Probe stands for the sessions of which some fields are as in Known, by their
// paths, absent among them. All others are unknown.
type Probe struct {
	Known map[string]ref.Val
	path  string // of the part of a session that it stands for, with a point at its end
}

// ResolveName implements cel.Activation.
func (p *Probe) ResolveName(name string) (any, bool) {
	switch name {
	case "session", "request":
		return &value.Object{Kind: SessionType, It: p}, true
	}
	return tunable(name)
}

// Parent implements cel.Activation.
func (p *Probe) Parent() cel.Activation { return nil }

// field returns the value of a field of a probe.
func (p *Probe) field(f Field) ref.Val {
	path := p.path + f.Name
	switch v, ok := p.Known[path]; {
	case v == value.Absent:
		return value.NoneOf(f.Type)
	case ok:
		return v
	}
	switch f.Type {
	case attributionType, actorType, targetType, hostAccessType, settingsType, unexplainedType, decisionType, apiType:
		return &value.Object{Kind: f.Type, It: &Probe{path: path + ".", Known: p.Known}}
	}
	return Unknown(path)
}

// Has is has() of a field: unknown where the field is, which the library's own
// cannot be.
func (p *Probe) Has(path string) ref.Val {
	switch got := p.Known[path].(type) {
	case nil:
		return Unknown(path)
	case *value.Nothing:
		return types.False
	case *value.List:
		return types.Bool(got.N > 0)
	default:
		return types.True
	}
}
