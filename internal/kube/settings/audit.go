package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// policy is an audit.k8s.io Policy, as far as it decides what is recorded.
type policy struct {
	OmitStages []string     `json:"omitStages"`
	Rules      []policyRule `json:"rules"`
}

type policyRule struct {
	Level           string   `json:"level"`
	Users           []string `json:"users"`
	UserGroups      []string `json:"userGroups"`
	Verbs           []string `json:"verbs"`
	Namespaces      []string `json:"namespaces"`
	NonResourceURLs []string `json:"nonResourceURLs"`
	OmitStages      []string `json:"omitStages"`
	Resources       []struct {
		Group     string   `json:"group"`
		Resources []string `json:"resources"`
		Names     []string `json:"resourceNames"`
	} `json:"resources"`
}

// levels are those of a rule, the least first.
var levels = []string{"None", "Metadata", "Request", "RequestResponse"}

// stages are those at which a request of a command can be recorded.
var stages = []string{"RequestReceived", "ResponseStarted", "ResponseComplete"}

// allStages are those that a policy can leave out.
var allStages = append(slices.Clone(stages), "Panic")

// asked is a request for a command.
type asked struct {
	verb, resource, sub string
	namespaced          bool
	body                bool // the command stands in its body
}

func (a asked) String() string { return a.verb + " " + a.resource + "/" + a.sub }

// commands are the requests by which commands are asked for.
var commands = []asked{
	{"create", "pods", "exec", true, false}, {"get", "pods", "exec", true, false},
	{"create", "pods", "attach", true, false}, {"get", "pods", "attach", true, false},
	{"create", "pods", "portforward", true, false}, {"get", "pods", "portforward", true, false},
	{"patch", "pods", "ephemeralcontainers", true, true}, {"update", "pods", "ephemeralcontainers", true, true},
	{"create", "nodes", "proxy", false, false}, {"get", "nodes", "proxy", false, false},
}

// AuditPolicy tells what an audit policy in YAML or JSON would record of commands.
// The first rule that matches a request decides, and what no rule matches is not
// recorded. An error means that an API server would not take it.
func AuditPolicy(source string, first int, data []byte) (*inventory.Audit, error) {
	d, err := parse(source, first, data)
	if err != nil {
		return nil, err
	}
	if !d.is("audit.k8s.io", "Policy") {
		return nil, errors.New("no Policy of audit.k8s.io")
	}
	var p policy
	if err := d.decode(&p); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	out := inventory.Audit{Exec: levels[len(levels)-1], Origin: inventory.Origin{Source: source, Line: d.first}}
	for _, c := range commands {
		level, silent := p.about(c)
		out.Silent = append(out.Silent, silent...)
		if c.resource == "pods" && c.sub == "exec" && rank(level) < rank(out.Exec) {
			out.Exec = level
		}
	}
	return &out, nil
}

func (p *policy) check() error {
	if len(p.Rules) == 0 {
		return errors.New("it has no rules, and an API server does not start with it")
	}
	for i, r := range p.Rules {
		if !slices.Contains(levels, r.Level) {
			return fmt.Errorf("rule %d: level %q is none of %s", i+1, r.Level, strings.Join(levels, ", "))
		}
		for _, s := range slices.Concat(p.OmitStages, r.OmitStages) {
			if !slices.Contains(allStages, s) {
				return fmt.Errorf("rule %d: there is no stage %q", i+1, s)
			}
		}
		if len(r.NonResourceURLs) > 0 && (len(r.Resources) > 0 || len(r.Namespaces) > 0) {
			return fmt.Errorf("rule %d is about resources and about other URLs, and an API server does not start with it", i+1)
		}
	}
	return nil
}

// rank orders levels; one that is unknown is the least.
func rank(level string) int { return slices.Index(levels, level) }

// about says at which level a request is recorded whoever makes it, wherever, and
// of whom or where it is not.
func (p *policy) about(c asked) (level string, silent []string) {
	var before []some
	for i := range p.Rules {
		r := &p.Rules[i]
		s, ok := r.matches(c)
		if !ok {
			continue
		}
		told := p.level(r)
		if gap := c.gap(told); gap != "" && !slices.ContainsFunc(before, func(b some) bool { return b.covers(s) }) {
			silent = append(silent, fmt.Sprintf("%s%s: %s (rule %d)", c, s, gap, i+1))
		}
		if s.all() {
			return told, silent
		}
		before = append(before, s)
	}
	gap := ": nothing is recorded (no rule is about it)"
	if len(before) > 0 {
		gap = " by all others: nothing is recorded (no rule is about it)"
	}
	return levels[0], append(silent, c.String()+gap)
}

// gap says what is missing at a level; "" when the command is recorded.
func (c asked) gap(level string) string {
	switch {
	case level == levels[0]:
		return "nothing is recorded"
	case c.body && level == "Metadata":
		return "the command is not recorded, it stands in the body of the request"
	}
	return ""
}

// level is that of a rule, None when it leaves out all stages.
func (p *policy) level(r *policyRule) string {
	for _, s := range stages {
		if !slices.Contains(p.OmitStages, s) && !slices.Contains(r.OmitStages, s) {
			return r.Level
		}
	}
	return levels[0]
}

// some is whom and what a rule is about, of one request; an empty list is no bound.
type some struct{ users, groups, namespaces, names []string }

func (s some) all() bool { return len(s.users)+len(s.groups)+len(s.namespaces)+len(s.names) == 0 }

// covers reports whether s holds of everything that t holds of.
func (s some) covers(t some) bool {
	within := func(a, b []string) bool {
		return len(a) == 0 || len(b) > 0 && !slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
	}
	return within(s.users, t.users) && within(s.groups, t.groups) && within(s.namespaces, t.namespaces) && within(s.names, t.names)
}

func (s some) String() string {
	var b strings.Builder
	for _, part := range []struct {
		before string
		list   []string
	}{{" by ", s.users}, {" by members of ", s.groups}, {" in namespace ", s.namespaces}, {" of ", s.names}} {
		if len(part.list) > 0 {
			b.WriteString(part.before + strings.Join(part.list, ", "))
		}
	}
	return b.String()
}

// matches reports whether a rule is about a request, and for whom.
func (r *policyRule) matches(c asked) (some, bool) {
	s := some{users: r.Users, groups: r.UserGroups, namespaces: r.Namespaces}
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, c.verb) {
		return s, false
	}
	if len(r.Namespaces) > 0 && !c.namespaced {
		if !slices.Contains(r.Namespaces, "") { // "" stands for what belongs to no namespace
			return s, false
		}
		s.namespaces = nil
	}
	if len(r.Resources) == 0 {
		return s, len(r.NonResourceURLs) == 0 || len(r.Namespaces) > 0
	}
	found := false
	for _, g := range r.Resources {
		if g.Group != "" && g.Group != "*" {
			continue
		}
		if len(g.Resources) == 0 {
			s.names = nil
			return s, true
		}
		if !slices.ContainsFunc(g.Resources, c.is) {
			continue
		}
		if len(g.Names) == 0 {
			s.names = nil
			return s, true
		}
		found, s.names = true, append(s.names, g.Names...)
	}
	return s, found
}

// is reports whether a rule's resource names that of the request.
func (c asked) is(resource string) bool {
	return slices.Contains([]string{"*", c.resource + "/" + c.sub, "*/" + c.sub, c.resource + "/*"}, resource)
}
