package rules_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/ruletest"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/rules"
)

const lists = "lists.yaml"

// TestPack runs the tests beside the rules.
func TestPack(t *testing.T) {
	results, err := ruletest.Run(pack(t, false), pack(t, true), noSessions)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, wrong := range r.Wrong {
			t.Errorf("%s:%d: %s: %s", r.File, r.Line, r.Name, wrong)
		}
	}
}

// TestPackIsWhole demands of each rule what a person who gets its finding needs,
// and that none prevents anything by itself.
func TestPackIsWhole(t *testing.T) {
	set := load(t, pack(t, false))
	has, ids := make(map[string]bool), make(map[string]bool)
	for _, r := range set.Rules() {
		if len(r.Attack) == 0 || r.Message == "" || r.Remedy == "" || r.Title == r.ID {
			t.Errorf("%s:%d: %s lacks a title, techniques, a message or a remedy", r.File, r.Line, r.ID)
		}
		if r.Decides() != "" {
			t.Errorf("%s:%d: %s decides: the pack alerts, and users choose what to deny", r.File, r.Line, r.ID)
		}
		name, _, _ := strings.Cut(r.ID, "-")
		has[name], ids[r.ID] = true, true
	}
	for n := range 24 {
		if id := fmt.Sprintf("R%d", n+1); !has[id] {
			t.Errorf("no rule of %s", id)
		}
	}
	for _, procedure := range []string{"hildegard", "kinsing", "peirates", "siloscape", "teamtnt"} {
		if !ids[procedure+"-process"] {
			t.Errorf("no rule of %s on processes", procedure)
		}
	}
	if len(set.Suppressions()) > 0 {
		t.Error("the pack suppresses: an identity, workload and command that are the same everywhere do not exist")
	}
}

// TestPackIsHeldByItsTests changes every condition of every rule, one part at a
// time, and demands that the tests beside the rule notice.
func TestPackIsHeldByItsTests(t *testing.T) {
	files, tests := pack(t, false), pack(t, true)
	shared := files[slices.IndexFunc(files, func(f policy.File) bool { return f.Name == lists })]
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			beside := slices.DeleteFunc(slices.Clone(tests), func(x policy.File) bool {
				return !strings.HasPrefix(x.Name, strings.TrimSuffix(f.Name, ".yaml"))
			})
			for _, m := range mutants(t, f) {
				results, err := ruletest.Run([]policy.File{shared, m.file}, beside, noSessions)
				if errs := (source.Errors{}); errors.As(err, &errs) {
					continue // seen when it is loaded
				}
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(results, func(r ruletest.Result) bool { return len(r.Wrong) > 0 }) {
					t.Errorf("no test notices: %s", m.what)
				}
			}
		})
	}
}

// mutant is a file of rules with one mistake.
type mutant struct {
	what string
	file policy.File
}

// mutants returns the file with one part of one condition left out, or never
// true, for each of them.
func mutants(t *testing.T, f policy.File) []mutant {
	var doc yaml.Node
	if err := yaml.Unmarshal(f.Data, &doc); err != nil {
		t.Fatal(err)
	}
	var out []mutant
	for _, when := range conditions(&doc, "") {
		whole := when.node.Value
		parts := conjuncts(whole)
		for i := range parts {
			rest := slices.Concat(parts[:i:i], []string{`session.id != "x"`}, parts[i+1:])
			none := slices.Concat(parts[:i:i], []string{`session.id == "x"`}, parts[i+1:])
			for what, all := range map[string][]string{"left out": rest, "never true": none} {
				when.node.Value = strings.Join(all, " && ")
				data, err := yaml.Marshal(&doc)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, mutant{fmt.Sprintf("%s: %s: %s", when.rule, what, parts[i]), policy.File{Name: f.Name, Data: data}})
			}
		}
		when.node.Value = whole
	}
	return out
}

type condition struct {
	rule string
	node *yaml.Node
}

// conditions finds what stands after `when`, with the id of its rule.
func conditions(n *yaml.Node, rule string) []condition {
	var out []condition
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			switch n.Content[i].Value {
			case "id":
				rule = n.Content[i+1].Value
			case "when":
				out = append(out, condition{rule, n.Content[i+1]})
			}
		}
	}
	for _, c := range n.Content {
		out = append(out, conditions(c, rule)...)
	}
	return out
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"|'[^']*'`)

// conjuncts splits a condition at each && that is in no brackets; one with || at
// that level is one part.
func conjuncts(condition string) []string {
	blind := quoted.ReplaceAllStringFunc(condition, func(s string) string { return strings.Repeat("_", len(s)) })
	var out []string
	depth, from := 0, 0
	for i := range blind {
		switch rest := blind[i:]; {
		case strings.ContainsRune("([{", rune(rest[0])):
			depth++
		case strings.ContainsRune(")]}", rune(rest[0])):
			depth--
		case depth == 0 && strings.HasPrefix(rest, "||"):
			return []string{"(" + condition + ")"}
		case depth == 0 && strings.HasPrefix(rest, "&&"):
			out, from = append(out, condition[from:i]), i+2
		}
	}
	return append(out, condition[from:])
}

func TestConjuncts(t *testing.T) {
	got := conjuncts(`a && (b && c) && "&&" == x`)
	want := []string{"a ", " (b && c) ", ` "&&" == x`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := conjuncts(`a || b && c`); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// pack returns the files of the pack, or with tests those of its tests.
func pack(t *testing.T, tests bool) []policy.File {
	t.Helper()
	var out []policy.File
	err := rules.Each(func(name string, data []byte) error {
		if strings.HasSuffix(name, ruletest.Suffix) == tests {
			out = append(out, policy.File{Name: name, Data: data})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func load(t *testing.T, files []policy.File) *policy.Set {
	t.Helper()
	set, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func noSessions(name string) ([]session.Session, error) {
	return nil, fmt.Errorf("%s: the pack's tests bring their sessions", name)
}
