package source

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/sigma"
)

// fileMax bounds a file of rules or tests.
const fileMax = 1 << 20

// Reader reads one YAML file and collects what is wrong with it. A file is read
// to its end, so that a person sees all mistakes at once.
type Reader struct {
	File  string
	Rule  string // whose part is being read
	lines []string
	errs  *Errors
}

// Errorf notes what is wrong at a node.
func (r *Reader) Errorf(n *yaml.Node, suggestion, format string, args ...any) {
	r.At(n.Line, n.Column, suggestion, format, args...)
}

// At notes what is wrong at a place; line 0 is the whole file.
func (r *Reader) At(line, column int, suggestion, format string, args ...any) {
	*r.errs = append(*r.errs, &Error{
		File: r.File, Line: line, Column: column, Rule: r.Rule, Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	})
}

// Open returns the documents of a file, nil when there are none to read. Several
// are read when one of them is a Sigma rule, which come like that.
func Open(file string, data []byte, errs *Errors) (*Reader, []*yaml.Node) {
	r := &Reader{File: file, errs: errs}
	if len(data) > fileMax {
		r.At(0, 0, "split it", "more than %d bytes", fileMax)
		return r, nil
	}
	if !utf8.Valid(data) {
		r.At(0, 0, "", "not UTF-8")
		return r, nil
	}
	r.lines = strings.Split(string(data), "\n")
	docs, err := documents(r.lines, data)
	if err != nil {
		r.unreadable(err)
		return r, nil
	}
	for _, doc := range docs {
		if bad := alias(doc, 0); bad != nil {
			r.Errorf(bad, "write it out", "aliases, merge keys and deep nesting are not read")
			return r, nil
		}
	}
	return r, docs
}

// OpenOne is Open for a file that is one document.
func OpenOne(file string, data []byte, errs *Errors) (*Reader, *yaml.Node) {
	r, docs := Open(file, data, errs)
	switch {
	case len(docs) == 0:
		return r, nil
	case len(docs) > 1:
		r.Errorf(docs[1], "", "want one document")
		return r, nil
	}
	return r, docs[0]
}

// documents parses a file; none when there are only comments.
func documents(lines []string, data []byte) ([]*yaml.Node, error) {
	if !slices.ContainsFunc(lines, func(s string) bool { s = strings.TrimSpace(s); return s != "" && s[0] != '#' }) {
		return nil, nil
	}
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		return nil, err
	}
	var out []*yaml.Node
	several := false
	for i := range docs {
		if docs[i].Kind != yaml.DocumentNode || len(docs[i].Content) != 1 {
			return nil, errors.New("want keys with values")
		}
		top := docs[i].Content[0]
		if len(docs) > 1 && top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" {
			continue // after the last ---
		}
		several = several || sigma.Is(top)
		out = append(out, top)
	}
	if len(out) > 1 && !several {
		return nil, errors.New("expected single document, found multiple")
	}
	return out, nil
}

// yamlPlace finds where in the text a YAML error says that it is: of a range, where that
// ends.
var yamlPlace = regexp.MustCompile(`at (?:L\d+\.C\d+-)?L(\d+)\.C(\d+): (.*)`)

func (r *Reader) unreadable(err error) {
	if m := yamlPlace.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		column, _ := strconv.Atoi(m[2])
		r.At(line, column, "", "not YAML: %s", m[3])
		return
	}
	text := err.Error()
	if i := strings.LastIndex(text, "yaml: "); i >= 0 {
		text = text[i+len("yaml: "):]
	}
	r.At(0, 0, "", "not one YAML document: %s", strings.TrimSpace(text))
}

// depthMax bounds how deep values are nested.
const depthMax = 32

// alias returns the first node that is an alias or nested too deep.
func alias(n *yaml.Node, depth int) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Tag == "!!merge" || depth > depthMax {
		return n
	}
	for _, c := range n.Content {
		if bad := alias(c, depth+1); bad != nil {
			return bad
		}
	}
	return nil
}

// Mapping returns the values of a mapping by key. Keys that are not known and
// keys that come twice are errors.
func (r *Reader) Mapping(n *yaml.Node, known ...string) map[string]*yaml.Node {
	out := make(map[string]*yaml.Node)
	if n == nil {
		return out
	}
	if n.Kind != yaml.MappingNode {
		r.Errorf(n, "", "want keys with values")
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case len(known) > 0 && !slices.Contains(known, k.Value):
			r.Errorf(k, nearest.Suggestion(k.Value, known), "unknown key %q", k.Value)
		case out[k.Value] != nil:
			r.Errorf(k, "", "%q is already set in line %d", k.Value, out[k.Value].Line)
		default:
			out[k.Value] = v
		}
	}
	return out
}

// Text returns a scalar, "" after an error or for nil.
func (r *Reader) Text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.Errorf(n, "", "want one text")
		return ""
	}
	return n.Value
}

// Name returns a scalar that is an identifier: letters, digits, -, _ and ".".
func (r *Reader) Name(n *yaml.Node) string {
	s := r.Text(n)
	if n == nil || s == "" {
		return s
	}
	for _, c := range s {
		if !isLetter(c) && !isDigit(c) && !strings.ContainsRune("-_.", c) {
			r.Errorf(n, "", "%q: want letters, digits, - and _", s)
			return ""
		}
	}
	if len(s) > 100 {
		r.Errorf(n, "", "%q…: want at most 100 letters", s[:20])
		return ""
	}
	return s
}

// Texts returns a list of scalars; one scalar is a list of one.
func (r *Reader) Texts(n *yaml.Node) []string {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.ScalarNode:
		if s := r.Text(n); s != "" {
			return []string{s}
		}
		return nil
	case n.Kind != yaml.SequenceNode:
		r.Errorf(n, "", "want a list of texts")
		return nil
	}
	out := make([]string, 0, len(n.Content))
	for _, c := range n.Content {
		if s := r.Text(c); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// Items returns the elements of a list.
func (r *Reader) Items(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.Errorf(n, `begin each entry with "- "`, "want a list")
		return nil
	}
	return n.Content
}

// Duration returns a positive length of time, 0 for nil or after an error.
func (r *Reader) Duration(n *yaml.Node, most time.Duration) time.Duration {
	s := r.Text(n)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > most {
		r.Errorf(n, "for example 30s or 5m", "%q: want a duration up to %s", s, most)
		return 0
	}
	return d
}

// Day returns a date, which ends with its day, or a moment.
func (r *Reader) Day(n *yaml.Node) time.Time {
	s := r.Text(n)
	if s == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.AddDate(0, 0, 1)
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		r.Errorf(n, "", "%q: want a date such as 2027-01-31", s)
	}
	return t
}

// Place returns where in the file a position of a scalar's text is: line from 1
// and column from 0 as CEL counts them. Where the text was folded or escaped,
// it is where the scalar begins.
func (r *Reader) Place(n *yaml.Node, line, column int) (int, int) {
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		at := n.Line + line
		indent := 0
		for _, text := range r.lines[min(n.Line, len(r.lines)):] {
			if strings.TrimSpace(text) != "" {
				indent = len(text) - len(strings.TrimLeft(text, " "))
				break
			}
		}
		return at, indent + column + 1
	case line == 1 && n.Line <= len(r.lines):
		quote := 0
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			quote = 1
		}
		text := []rune(r.lines[n.Line-1])
		if from := n.Column - 1 + quote; from <= len(text) && strings.HasPrefix(string(text[from:]), n.Value) {
			return n.Line, n.Column + quote + column
		}
	}
	return n.Line, n.Column
}

// Scalar returns the value of a tunable.
func (r *Reader) Scalar(n *yaml.Node) any {
	s := r.Text(n)
	switch n.ShortTag() {
	case "!!int":
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			r.Errorf(n, "", "%q: want a whole number", s)
		}
		return v
	case "!!bool":
		return s == "true" || s == "True" || s == "TRUE"
	case "!!str":
		if d, err := time.ParseDuration(s); err == nil {
			return d
		}
		return s
	}
	r.Errorf(n, "", "want a whole number, true or false, a duration or a text")
	return s
}

func isLetter(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c rune) bool { return c >= '0' && c <= '9' }
