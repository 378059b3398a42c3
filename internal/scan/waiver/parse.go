package waiver

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
	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Version is the version of the format of waivers.
const Version = 1

// Bounds of a file of waivers.
const (
	MaxSize    = 1 << 20 // bytes
	maxWaivers = 10_000
	maxText    = 1000 // bytes of one value
	// Longest is how far ahead a waiver's last day may be: what nobody looks at for
	// longer is no decision any more.
	Longest = 366 * 24 * time.Hour
)

// Error is one thing that is wrong with a file of waivers.
type Error struct {
	File         string
	Line, Column int // from 1; 0 when the whole file is meant
	Message      string
	Suggestion   string // what to write instead; "" when there is none
}

// Error implements error: "FILE:LINE:COLUMN: MESSAGE".
func (e *Error) Error() string {
	out := e.File
	if e.Line > 0 {
		out += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	out += ": " + e.Message
	if e.Suggestion != "" {
		out += " (" + e.Suggestion + ")"
	}
	return out
}

// Parse reads a file of waivers:
//
//	version: 1
//	waivers:
//	  - rule: SP-DKR-020
//	    object: host:*/container/ci
//	    owner: ann
//	    reason: the runner builds images
//	    expires: 2027-01-31
//
// All keys are required. A rule that fits none of the given ids is an error, as is a
// last day further ahead of now than Longest. The error joins all that is wrong, each
// an *Error, and then there are no waivers.
func Parse(file string, data []byte, rules []string, now time.Time) ([]Waiver, error) {
	p := parser{file: file, rules: rules, now: now, seen: map[[2]string]int{}}
	if top := p.open(data); top != nil {
		p.top(top)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.out, nil
}

type parser struct {
	file  string
	rules []string
	now   time.Time
	seen  map[[2]string]int // lines of waivers, by rule and object
	out   []Waiver
	errs  []error
}

func (p *parser) at(line, column int, suggestion, format string, args ...any) {
	p.errs = append(p.errs, &Error{File: p.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

func (p *parser) errorf(n *yaml.Node, suggestion, format string, args ...any) {
	p.at(n.Line, n.Column, suggestion, format, args...)
}

// yamlPlace finds where in the text a YAML error says that it is.
var yamlPlace = regexp.MustCompile(`at L(\d+)\.C(\d+): (.*)`)

// open returns the one document of a file; nil after an error.
func (p *parser) open(data []byte) *yaml.Node {
	switch {
	case len(data) > MaxSize:
		p.at(0, 0, "split it", "more than %d bytes", MaxSize)
		return nil
	case !utf8.Valid(data):
		p.at(0, 0, "", "not UTF-8")
		return nil
	}
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		if m := yamlPlace.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			column, _ := strconv.Atoi(m[2])
			p.at(line, column, "", "not YAML: %s", m[3])
			return nil
		}
		p.at(0, 0, "", "not YAML: %s", strings.TrimSpace(err.Error()))
		return nil
	}
	if len(docs) != 1 || docs[0].Kind != yaml.DocumentNode || len(docs[0].Content) != 1 {
		p.at(0, 0, fmt.Sprintf("begin it with version: %d", Version), "want one document, and there are %d", len(docs))
		return nil
	}
	return docs[0].Content[0]
}

func (p *parser) top(n *yaml.Node) {
	keys := p.mapping(n, "version", "waivers")
	if keys == nil {
		return
	}
	switch v := keys["version"]; {
	case v == nil:
		p.errorf(n, fmt.Sprintf("begin the file with version: %d", Version), "no version")
	case v.Value != strconv.Itoa(Version):
		p.errorf(v, "", "version %q: this sallyport reads version %d", v.Value, Version)
	}
	list := keys["waivers"]
	switch {
	case list == nil:
		p.errorf(n, "", "no waivers")
		return
	case list.Kind != yaml.SequenceNode:
		p.errorf(list, `begin each entry with "- "`, "want a list")
		return
	case len(list.Content) > maxWaivers:
		p.errorf(list, "write patterns", "more than %d waivers", maxWaivers)
		return
	}
	for _, w := range list.Content {
		p.waiver(w)
	}
}

// mapping returns the values of a mapping by key; nil after an error with all of it.
// Keys that are not known and keys that come twice are errors.
func (p *parser) mapping(n *yaml.Node, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "", "want keys with values")
		return nil
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, k.Value):
			p.errorf(k, nearest.Suggestion(k.Value, known), "unknown key %q", k.Value)
		case out[k.Value] != nil:
			p.errorf(k, "", "%q is already set in line %d", k.Value, out[k.Value].Line)
		default:
			out[k.Value] = v
		}
	}
	return out
}

func (p *parser) waiver(n *yaml.Node) {
	keys := p.mapping(n, "rule", "object", "owner", "reason", "expires")
	if keys == nil {
		return
	}
	text := func(key string) string { return p.text(n, keys[key], key) }
	w := Waiver{
		Rule: text("rule"), Object: text("object"), Owner: text("owner"), Reason: text("reason"), Expires: text("expires"),
		At: inventory.Origin{Source: p.file, Line: n.Line},
	}
	w.rule, w.object = pattern.NewStars(w.Rule), pattern.NewStars(w.Object)
	if w.Rule != "" && !slices.ContainsFunc(p.rules, w.rule.Match) {
		p.errorf(keys["rule"], nearest.Suggestion(w.Rule, p.rules), "no rule is %q", w.Rule)
	}
	if w.Rule != "" && w.Object != "" && strings.Trim(w.Rule+w.Object, "*") == "" {
		p.errorf(n, "name a rule or an object", "it waives everything")
	}
	if w.Expires != "" {
		w.until = p.day(keys["expires"])
	}
	key := [2]string{w.Rule, w.Object}
	if line, twice := p.seen[key]; twice && w.Rule != "" && w.Object != "" {
		p.errorf(n, "", "the same rule and object are waived in line %d", line)
	}
	p.seen[key] = n.Line
	p.out = append(p.out, w)
}

// text returns the value of a required key.
func (p *parser) text(in, n *yaml.Node, key string) string {
	switch {
	case n == nil:
		p.errorf(in, "", "a waiver without %q", key)
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "":
		p.errorf(n, "", "%s: want a text", key)
	case len(n.Value) > maxText:
		p.errorf(n, "", "%s: more than %d bytes", key, maxText)
	default:
		return n.Value
	}
	return ""
}

// day returns when a day is over.
func (p *parser) day(n *yaml.Node) time.Time {
	t, err := time.Parse(time.DateOnly, n.Value)
	switch {
	case err != nil:
		p.errorf(n, "", "expires %q: want a date such as %s", n.Value, p.now.UTC().AddDate(0, 3, 0).Format(time.DateOnly))
	case t.Sub(p.now) > Longest:
		p.errorf(n, "", "expires %s: at most a year ahead, until %s", n.Value, p.now.UTC().Add(Longest).Format(time.DateOnly))
	}
	return t.AddDate(0, 0, 1)
}
