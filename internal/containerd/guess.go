package containerd

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/internal/core/event"
)

// specType is the type of the specification in an exec request.
const specType = "opencontainers/runtime-spec/1/Process"

// shape counts the fields of a message by number and kind.
type shape map[protowire.Number]map[protowire.Type]int

// guess reads a message whose method is not known. It fills in o only when the
// message can be no other than that of an exec.
func guess(b []byte, o *event.RuntimeRequest) bool {
	s := shape{}
	first, spec := "", ""
	good := fields(b, func(n protowire.Number, f field) {
		if s[n] == nil {
			s[n] = map[protowire.Type]int{}
		}
		s[n][f.kind]++
		switch n {
		case 1:
			first = f.text()
		case 6:
			fields(f.bytes, func(n protowire.Number, f field) {
				if n == 1 {
					spec = f.text()
				}
			})
		}
	})
	switch {
	case !good || s.strings(1) != 1:
		return false
	case strings.HasSuffix(spec, specType) && s.strings(7) == 1:
		o.API, o.Op = event.APIContainerd, event.RuntimeOpExec
		return readExec(b, o)
	case !isID(first) || s.strings(2) == 0:
		return false
	case s.only(1, 2, 3) && s.numbers(3) <= 1:
		o.API, o.Op = event.APICRI, event.RuntimeOpExecSync
		// A checkpoint has a path there, an update of resources a message.
		return readExecSync(b, o) && plain(o.Argv) && len(o.Argv) > 1
	case s.only(1, 2, 3, 4, 5, 6) && s.numbers(5)+s.numbers(6) > 0 && s.numbers(4) <= 1 && s.strings(4) == 0:
		o.API, o.Op = event.APICRI, event.RuntimeOpExecStream
		return readCRIExec(b, o) && plain(o.Argv)
	}
	return false
}

func (s shape) strings(n protowire.Number) int { return s[n][protowire.BytesType] }
func (s shape) numbers(n protowire.Number) int { return s[n][protowire.VarintType] }

// only reports whether no other fields are there, the first two as strings and
// the others as numbers.
func (s shape) only(allowed ...protowire.Number) bool {
	left := len(s)
	for _, n := range allowed {
		kinds := s[n]
		if kinds == nil {
			continue
		}
		left--
		if want := s.strings(n); n > 2 && want > 0 || n <= 2 && len(kinds) != 1 || n <= 2 && want == 0 {
			return false
		}
	}
	return left == 0
}

// plain reports whether no argument begins as an inner message would.
func plain(argv []string) bool {
	for _, a := range argv {
		if !utf8.ValidString(a) || a != "" && a[0] < ' ' {
			return false
		}
	}
	return true
}

// isID reports whether s is an id of the kind that CRI runtimes draw.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
