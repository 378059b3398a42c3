package sigma

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/pattern"
)

// asked is one item of a selection: a field, what is done with the values, and
// the values.
type asked struct {
	t     *translator
	at    *pair
	field field
	// how compares: "" for equal, "contains", "startswith", "endswith", "re",
	// "cidr", "exists", "gt", "gte", "lt" or "lte".
	how     string
	changes []string // of the values, in order: "windash", "base64", …
	flags   string   // of a regular expression
	all     bool
	cased   bool
	neq     bool
}

var (
	comparisons = []string{"contains", "startswith", "endswith", "re", "cidr", "exists", "gt", "gte", "lt", "lte"}
	encodings   = []string{"windash", "base64", "base64offset", "utf16", "utf16le", "utf16be", "wide"}
	flags       = []string{"i", "m", "s"}
	// unsupported says why a modifier is refused.
	unsupported = map[string]string{
		"fieldref": "two fields of one event cannot be compared",
		"expand":   "there are no placeholders; write the values, or a rule of your own with `lists:`",
		"minute":   "write a rule of your own over session.started", "hour": "write a rule of your own over session.started",
		"day": "write a rule of your own over session.started", "week": "write a rule of your own over session.started",
		"month": "write a rule of your own over session.started", "year": "write a rule of your own over session.started",
	}
)

// item reads one item of a selection; nil when something is wrong with it.
func (t *translator) item(p *pair) *expr {
	name, rest, _ := strings.Cut(p.key.Value, "|")
	if name == "" {
		t.keywords(p.key)
		return nil
	}
	a := &asked{t: t, at: p}
	ok := a.modifiers(len(name)+1, rest)
	f, found := t.field(p, name)
	if !ok || !found {
		return nil
	}
	a.field = f
	return a.expr()
}

func (t *translator) keywords(n *yaml.Node) {
	t.errorf(n, 0, "name the field in which to look", "keywords are not supported: there is no log line to look for them in")
}

// modifiers reads what follows the field's name.
func (a *asked) modifiers(offset int, text string) bool {
	if text == "" {
		return true
	}
	for m := range strings.SplitSeq(text, "|") {
		hint, message := a.modifier(m)
		if message != "" {
			a.t.errorf(a.at.key, offset, hint, "%s", message)
			return false
		}
		offset += len(m) + 1
	}
	return true
}

func (a *asked) modifier(m string) (hint, wrong string) {
	switch {
	case m == "all":
		a.all = true
	case m == "cased":
		a.cased = true
	case m == "neq":
		a.neq = true
	case a.how == "re" && slices.Contains(flags, m):
		a.flags += m
	case slices.Contains(comparisons, m) && a.how != "":
		return "", "the modifiers " + a.how + " and " + m + " do not go together"
	case slices.Contains(comparisons, m):
		a.how = m
	case slices.Contains(encodings, m):
		a.changes = append(a.changes, m)
	case unsupported[m] != "":
		return unsupported[m], "the modifier " + strconv.Quote(m) + " is not supported"
	default:
		return nearest.Suggestion(m, slices.Concat(comparisons, encodings, []string{"all", "cased", "neq"})), "unknown modifier " + strconv.Quote(m)
	}
	return "", ""
}

// expr reads the values.
func (a *asked) expr() *expr {
	if (a.how == "re" || a.how == "cidr" || a.how == "exists") && len(a.changes) > 0 {
		a.t.errorf(a.at.key, 0, "", "the modifiers %s and %s do not go together", a.how, a.changes[0])
		return nil
	}
	nodes := listed(a.at.value)
	if len(nodes) == 0 {
		a.t.errorf(a.at.value, 0, "", "%s: no values", a.at.key.Value)
		return nil
	}
	var patterns []string
	var tests []*expr
	for _, n := range nodes {
		more, e := a.value(n, len(nodes) > 1)
		if more == nil && e == nil {
			return nil
		}
		patterns = append(patterns, more...)
		if e != nil {
			tests = append(tests, e)
		}
	}
	if len(patterns) > 0 {
		tests = append(a.like(patterns), tests...)
	}
	e := joined(or, tests)
	if a.all {
		e = joined(and, tests)
	}
	if a.neq {
		return negated(e)
	}
	return e
}

// value reads one value: patterns, or else what is asked of it.
func (a *asked) value(n *yaml.Node, several bool) ([]string, *expr) {
	switch {
	case n.Kind != yaml.ScalarNode:
		a.t.errorf(n, 0, "", "want a text, a number or null")
		return nil, nil
	case a.how == "exists":
		return nil, a.exists(n)
	case isNull(n) && several:
		a.t.errorf(n, 0, "give it a selection of its own", "null stands in no list")
		return nil, nil
	case isNull(n), n.Value == "" && a.how == "":
		return nil, negated(a.there())
	case a.field.kind == number || a.how == "gt" || a.how == "gte" || a.how == "lt" || a.how == "lte":
		return nil, a.number(n)
	case a.how == "re":
		return nil, a.regular(n)
	case a.how == "cidr":
		return nil, a.cidr(n)
	}
	values := []string{n.Value}
	for _, c := range a.changes {
		var why string
		if values, why = encoded(c, values); why != "" {
			a.t.errorf(n, 0, "", "%s: %s", c, why)
			return nil, nil
		}
	}
	for i, v := range values {
		if !utf8.ValidString(v) {
			a.t.errorf(n, 0, "put base64 after it", "in UTF-16 no command line has the value")
			return nil, nil
		}
		values[i] = a.wrap(v)
	}
	if a.cased {
		return nil, a.exactly(values)
	}
	if len(values) > 1 && a.all { // several spellings of one value: one is enough
		return nil, joined(or, []*expr{a.one(values)})
	}
	return values, nil
}

// wrap puts the wildcards of the comparison around a pattern.
func (a *asked) wrap(v string) string {
	if a.how == "contains" || a.how == "endswith" {
		v = "*" + strings.TrimLeft(v, "*")
	}
	if (a.how == "contains" || a.how == "startswith") && !endsInStar(v) {
		v += "*"
	}
	return v
}

// endsInStar reports whether a pattern ends in a wildcard and not in a star.
func endsInStar(v string) bool {
	rest, ok := strings.CutSuffix(v, "*")
	return ok && (len(rest)-len(strings.TrimRight(rest, `\`)))%2 == 0
}

// like asks for patterns: one of them, or each.
func (a *asked) like(patterns []string) []*expr {
	if !a.all {
		return []*expr{a.one(patterns)}
	}
	var out []*expr
	for _, p := range patterns {
		out = append(out, a.one([]string{p}))
	}
	return out
}

// one asks for one of some patterns.
func (a *asked) one(patterns []string) *expr {
	arg := celText(patterns[0])
	if len(patterns) > 1 {
		arg = celList(patterns)
	}
	switch f := a.field; f.kind {
	case closed:
		set := pattern.NewSet(patterns...)
		return f.among(slices.DeleteFunc(slices.Clone(f.known), func(v string) bool { return !set.Match(v) }))
	case command:
		return &expr{cel: f.expr + ".commandLike(" + arg + ")", atom: true, dear: long}
	case list:
		return &expr{cel: f.expr + ".exists(e, e.ilike(" + arg + "))", atom: true, dear: usual}
	case text, number:
	}
	if f := a.field; f.expr == namespaceExpr && !slices.ContainsFunc(patterns, wild) {
		// The index looks up namespaces that are compared with texts.
		for i := range patterns {
			patterns[i] = strings.ToLower(patterns[i])
		}
		return &expr{cel: f.expr + " in " + celList(patterns), dear: cheap}
	}
	return &expr{cel: a.field.expr + ".ilike(" + arg + ")", atom: true, dear: usual}
}

const namespaceExpr = "session.target.namespace"

// wild reports whether a pattern is more than a text.
func wild(p string) bool { return strings.ContainsAny(p, `*?\`) }

// among asks for one of the values that a closed field can have.
func (f field) among(values []string) *expr {
	e := &expr{cel: "false", atom: true, dear: cheap, holds: func(r attack.APIRequest) bool {
		return slices.ContainsFunc(f.of(r), func(v string) bool { return slices.Contains(values, v) })
	}}
	switch len(values) {
	case 0:
	case 1:
		e.cel, e.atom = f.expr+" == "+celText(values[0]), false
	default:
		e.cel, e.atom = f.expr+" in "+celList(values), false
	}
	return e
}

// there asks whether the field has a value.
func (a *asked) there() *expr {
	switch f := a.field; f.kind {
	case closed:
		return f.among(f.known)
	case list:
		return &expr{cel: f.expr + ".exists(e, true)", atom: true, dear: usual}
	case number:
		return &expr{cel: f.expr + " >= 0", dear: cheap}
	case text, command:
	}
	return a.one([]string{"*"})
}

func (a *asked) exists(n *yaml.Node) *expr {
	switch n.Value {
	case "true", "yes":
		return a.there()
	case "false", "no":
		return negated(a.there())
	}
	a.t.errorf(n, 0, "", "exists: want true or false")
	return nil
}

// exactly asks for patterns with the case of letters.
func (a *asked) exactly(patterns []string) *expr {
	var all []string
	for _, p := range patterns {
		all = append(all, pattern.Expression(p))
	}
	return a.matches(`(?s)\A(?:`+strings.Join(all, "|")+`)\z`, usual)
}

func (a *asked) regular(n *yaml.Node) *expr {
	re := n.Value
	if a.flags != "" {
		re = "(?" + a.flags + ")" + re
	}
	if _, err := regexp.Compile(re); err != nil {
		a.t.errorf(n, 0, "regular expressions are those of RE2, without lookaround and references (github.com/google/re2/wiki/Syntax)",
			"%s", strings.TrimPrefix(err.Error(), "error parsing "))
		return nil
	}
	return a.matches(re, regular)
}

func (a *asked) matches(re string, dear int) *expr {
	switch f := a.field; f.kind {
	case closed:
		r := regexp.MustCompile(re)
		return f.among(slices.DeleteFunc(slices.Clone(f.known), func(v string) bool { return !r.MatchString(v) }))
	case command:
		return &expr{cel: f.expr + ".command.matches(" + celText(re) + ")", atom: true, dear: dear}
	case list:
		return &expr{cel: f.expr + ".exists(e, e.matches(" + celText(re) + "))", atom: true, dear: dear}
	case text, number:
	}
	return &expr{cel: a.field.expr + ".matches(" + celText(re) + ")", atom: true, dear: dear}
}

func (a *asked) cidr(n *yaml.Node) *expr {
	if a.field.expr != "session.actor.address" {
		a.t.errorf(a.at.key, 0, "", "cidr: the field is no address")
		return nil
	}
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		a.t.errorf(n, 0, "", "cidr: %q is no range such as 10.0.0.0/8", n.Value)
		return nil
	}
	return &expr{cel: a.field.expr + ".within(" + celText(p.String()) + ")", atom: true, dear: usual}
}

var operators = map[string]string{"": "==", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

func (a *asked) number(n *yaml.Node) *expr {
	o := operators[a.how]
	switch {
	case a.field.kind != number:
		a.t.errorf(a.at.key, 0, "", "%s: the field is %s, and no number", a.how, kindNames[a.field.kind])
		return nil
	case o == "" || len(a.changes) > 0 || a.cased:
		a.t.errorf(a.at.key, 0, "numbers are compared with gt, gte, lt and lte", "the field is a number, and no text")
		return nil
	}
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || v < 0 || v > math.MaxUint32 {
		a.t.errorf(n, 0, "", "%q: want a whole number", n.Value)
		return nil
	}
	return &expr{cel: a.field.expr + " " + o + " " + strconv.FormatInt(v, 10), dear: cheap}
}

// celText writes a text as CEL does: the escapes of Go are among its own.
func celText(s string) string { return strconv.Quote(s) }

func celList(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = celText(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// variantsMax bounds how many spellings windash makes of one value.
const variantsMax = 125

// encoded applies a modifier that changes values. It says why it cannot.
func encoded(how string, values []string) (out []string, why string) {
	for _, v := range values {
		if how == "windash" {
			more := dashes(v)
			if out = append(out, more...); len(out) > variantsMax {
				return nil, "too many dashes in one value"
			}
			continue
		}
		raw, ok := pattern.Literal(v)
		if !ok {
			return nil, "a text with wildcards cannot be encoded"
		}
		switch how {
		case "base64":
			out = append(out, base64.StdEncoding.EncodeToString([]byte(raw)))
		case "base64offset":
			out = append(out, offsets(raw)...)
		default:
			out = append(out, pattern.Quote(wide(how, raw)))
		}
	}
	return out, ""
}

// windashes are the signs that stand for one another at the beginning of an
// option.
var windashes = []string{"-", "/", "–", "—", "―"}

var option = regexp.MustCompile(`(^|\s|["'])([-/–—―])(\w)`)

// dashes returns a value with each sign that begins an option written in all
// ways.
func dashes(v string) []string {
	m := option.FindStringSubmatchIndex(v)
	if m == nil {
		return []string{v}
	}
	head, tail := v[:m[4]], v[m[5]:]
	var out []string
	rest := dashes(tail)
	for _, d := range windashes {
		for _, r := range rest {
			if out = append(out, head+d+r); len(out) > variantsMax {
				return out
			}
		}
	}
	return out
}

// offsets returns what is the same in the encodings of all texts that hold a
// text at a place that is divisible by three, and one and two after it.
func offsets(raw string) []string {
	var out []string
	for i, from := range []int{0, 2, 3} {
		text := strings.Repeat(" ", i) + raw
		to := base64.RawStdEncoding.EncodedLen(len(text))
		if len(text)%3 != 0 {
			to-- // its last bits depend on what follows
		}
		if from < to {
			out = append(out, base64.RawStdEncoding.EncodeToString([]byte(text))[from:to])
		}
	}
	return out
}

func wide(how, raw string) string {
	var order binary.AppendByteOrder = binary.LittleEndian
	if how == "utf16be" {
		order = binary.BigEndian
	}
	var b []byte
	if how == "utf16" {
		b = order.AppendUint16(b, 0xFEFF)
	}
	for _, u := range utf16.Encode([]rune(raw)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}
