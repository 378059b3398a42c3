package condition

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// Name is an expression whose value names something, ready to be asked.
type Name struct{ node }

// Of returns the value for a session. False when it is unknown, absent or cannot
// be evaluated: what has no name belongs to nothing, since putting it somewhere
// would be a guess.
func (n *Name) Of(s *Scope) (text string, ok bool) {
	defer func() {
		if recover() != nil { // what the library says of its own functions: it cannot be evaluated
			text, ok = "", false
		}
	}()
	out := n.eval(s)
	if types.IsUnknownOrError(out) || out == value.Absent {
		return "", false
	}
	if l, ok := out.(traits.Lister); ok {
		var b strings.Builder
		for it := l.Iterator(); it.HasNext() == types.True; {
			s, ok := it.Next().(types.String)
			if !ok {
				return "", false
			}
			writePart(&b, string(s))
		}
		return b.String(), b.Len() > 0
	}
	converted, ok := out.ConvertToType(types.StringType).(types.String)
	return string(converted), ok
}

var escapes = strings.NewReplacer("\\", "\\\\", "\x00", "\\0")

// writePart writes a part of a name so that no two lists of parts give one name.
func writePart(b *strings.Builder, s string) {
	_, _ = escapes.WriteString(b, s) // a strings.Builder takes everything
	b.WriteByte(0)
}

// Joined returns the values of several names as one.
func Joined(all []*Name, s *Scope) (string, bool) {
	var b strings.Builder
	for _, n := range all {
		text, ok := n.Of(s)
		if !ok {
			return "", false
		}
		writePart(&b, text)
	}
	return b.String(), true
}
