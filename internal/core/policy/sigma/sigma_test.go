package sigma

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
)

// translate reads the text of a rule and returns what was reported.
func translate(t testing.TB, text string) (*Rule, []string) {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var wrong []string
	r := Translate(doc.Content[0], func(n *yaml.Node, offset int, suggestion, message string) {
		if suggestion != "" {
			message += " (" + suggestion + ")"
		}
		wrong = append(wrong, fmt.Sprintf("%d:%d: %s", n.Line, n.Column+offset, message))
	})
	if (r == nil) != (len(wrong) > 0) {
		t.Fatalf("rule %v, and %q", r, wrong)
	}
	return r, wrong
}

// process is a rule about process creation with the given detection, written
// from its sixth line on.
func process(detection string) string {
	return "title: Some thing\nlogsource:\n  product: linux\n  category: process_creation\ndetection:\n" + indented(detection)
}

func kubernetes(detection string) string {
	return "title: Some thing\nlogsource:\n  product: kubernetes\n  service: audit\ndetection:\n" + indented(detection)
}

func indented(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") + "\n" }

func selection(item string) string {
	return process("selection:\n  " + strings.ReplaceAll(item, "\n", "\n  ") + "\ncondition: selection")
}

// What each modifier makes of a value.
func TestItems(t *testing.T) {
	for _, c := range []struct{ item, want string }{
		{`Image: /usr/bin/curl`, `p.exe.ilike("/usr/bin/curl")`},
		{`Image|endswith: ['/curl', '/wget']`, `p.exe.ilike(["*/curl", "*/wget"])`},
		{`Image|startswith: /tmp/`, `p.exe.ilike("/tmp/*")`},
		{`CommandLine|contains: ' -c '`, `p.commandLike("* -c *")`},
		{`CommandLine|contains: '*a*'`, `p.commandLike("*a*")`},
		{`CommandLine|contains: 'a\*'`, `p.commandLike("*a\\**")`},
		{`CommandLine|contains: 4444`, `p.commandLike("*4444*")`},
		{`CommandLine|contains|all: [a, b]`, `p.commandLike("*a*") && p.commandLike("*b*")`},
		{`CommandLine|all|contains: [a, b]`, `p.commandLike("*a*") && p.commandLike("*b*")`},
		{`CommandLine: 'a?b*'`, `p.commandLike("a?b*")`},
		{`CommandLine|neq: [a, b]`, `!p.commandLike(["a", "b"])`},
		{`CommandLine|re: '\s-[FT]\s'`, `p.command.matches("\\s-[FT]\\s")`},
		{`CommandLine|re|i: a.b`, `p.command.matches("(?i)a.b")`},
		{`CommandLine|re|i|m|s: [a, b]`, `p.command.matches("(?ims)a") || p.command.matches("(?ims)b")`},
		{`Image|cased: '/X*'`, `p.exe.matches("(?s)\\A(?:/X.*)\\z")`},
		{`CommandLine|contains|cased: '-O?'`, `p.command.matches("(?s)\\A(?:.*-O..*)\\z")`},
		{`CommandLine|windash|contains: ' -i '`, `p.commandLike(["* -i *", "* /i *", "* –i *", "* —i *", "* ―i *"])`},
		{`CommandLine|windash|contains|all: [' -i ', x]`, `p.commandLike("*x*") && p.commandLike(["* -i *", "* /i *", "* –i *", "* —i *", "* ―i *"])`},
		{`CommandLine|base64|contains: abc`, `p.commandLike("*YWJj*")`},
		{`CommandLine|base64offset|contains: 'http://'`, `p.commandLike(["*aHR0cDovL*", "*h0dHA6Ly*", "*odHRwOi8v*"])`},
		{`CommandLine|utf16le|base64|contains: cm`, `p.commandLike("*YwBtAA==*")`},
		{`CommandLine|wide|base64|contains: 'c\*'`, `p.commandLike("*YwAqAA==*")`},
		{`CommandLine|utf16be|base64: c`, `p.commandLike("AGM=")`},
		{`CommandLine|utf16|base64: c`, `p.commandLike("//5jAA==")`},
		{`ParentImage|endswith: /git`, `p.parent.exe.ilike("*/git")`},
		{`ParentCommandLine|contains: help`, `p.parent.commandLike("*help*")`},
		{`ParentImage: null`, `!p.parent.exe.ilike("*")`},
		{`ParentImage: ''`, `!p.parent.exe.ilike("*")`},
		{`ParentCommandLine|exists: true`, `p.parent.commandLike("*")`},
		{`ParentImage|exists: false`, `!p.parent.exe.ilike("*")`},
		{`User: root`, `p.user.ilike("root")`},
		{`ProcessId: 1`, `p.pid == 1`},
		{`ProcessId: [1, 2]`, `p.pid == 1 || p.pid == 2`},
		{`ParentProcessId|gt: 100`, `p.ppid > 100`},
		{`ParentProcessId|gte: 100`, `p.ppid >= 100`},
		{`ParentProcessId|lt: 100`, `p.ppid < 100`},
		{`ParentProcessId|lte: 100`, `p.ppid <= 100`},
		{`ParentProcessId|neq: 7`, `!(p.ppid == 7)`},
		{"CommandLine: a\nImage: b", `p.exe.ilike("b") && p.commandLike("a")`}, // what costs less comes first
		{"- CommandLine: a\n- Image: b", `p.exe.ilike("b") || p.commandLike("a")`},
		{"- CommandLine: a\n  Image: b\n- Image: [c, d]", `p.exe.ilike(["c", "d"]) || (p.exe.ilike("b") && p.commandLike("a"))`},
	} {
		text := selection(c.item)
		if strings.HasPrefix(c.item, "-") {
			text = process("selection:\n" + c.item + "\ncondition: selection")
		}
		r, wrong := translate(t, text)
		if r == nil {
			t.Errorf("%s: %q", c.item, wrong)
			continue
		}
		if want := "session.programs.exists(p, " + c.want + ")"; r.When != want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.item, r.When, want)
		}
	}
}

func TestConditions(t *testing.T) {
	selections := "sel_a: {Image: a}\nsel_b: {Image: b}\nsel_c: {Image: c}\n_hidden: {Image: h}\nother: {Image: o}\ncondition: "
	// A test is written as its letter here.
	short := strings.NewReplacer(`p.exe.ilike("`, "", `")`, "")
	for _, c := range []struct{ condition, want string }{
		{"sel_a", "a"},
		{"sel_a and sel_b or sel_c", "(a && b) || c"},
		{"sel_a AND (sel_b OR sel_c)", "a && (b || c)"},
		{"not sel_a", "!a"},
		{"sel_a and not sel_b", "a && !b"},
		{"not (sel_a or sel_b)", "!(a || b)"},
		{"not not sel_a", "a"},
		{"1 of them", "a || b || c || o"},
		{"any of sel_*", "a || b || c"},
		{"all of them", "a && b && c && o"},
		{"all of sel_*", "a && b && c"},
		{"1 of *_a", "a"},
		{"2 of sel_*", "(a && b) || (a && c) || (b && c)"},
		{"sel_a and not 1 of sel_b*", "a && !b"},
		{"not all of sel_*", "!(a && b && c)"},
		{"_hidden or other", "h || o"},
		{"(((sel_a)))", "a"},
	} {
		r, wrong := translate(t, process(selections+c.condition))
		if r == nil {
			t.Errorf("%s: %q", c.condition, wrong)
			continue
		}
		got := strings.TrimSuffix(strings.TrimPrefix(short.Replace(r.When), "session.programs.exists(p, "), ")")
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.condition, got, c.want)
		}
	}
}

func TestKubernetes(t *testing.T) {
	for _, c := range []struct{ selection, want string }{
		{"verb: create\nobjectRef.resource: pods\nobjectRef.subresource: exec",
			`session.verb == "create" && session.api.resource == "pods" && session.api.subresource == "exec"`},
		{"verb: [create, Patch, replace]\nobjectRef.resource: 'cron*'\nobjectRef.apiGroup: batch",
			`session.verb in ["create", "patch"] && session.api.resource == "cronjobs" && session.api.group == "batch"`},
		{"apiGroup: apps\nverb: patch", `session.api.group == "apps" && session.verb == "patch"`},
		{"objectRef.namespace: Kube-System\nobjectRef.resource: pods", `session.target.namespace in ["kube-system"] && session.api.resource == "pods"`},
		{"objectRef.namespace|startswith: kube-", `session.target.namespace.ilike("kube-*")`},
		{"objectRef.name: web\nuser.username|contains: admin", `session.api.name.ilike("web") && session.api.user.ilike("*admin*")`},
		{"user.groups: 'system:masters'", `session.api.groups.exists(e, e.ilike("system:masters"))`},
		{"user.groups|re: '^x'", `session.api.groups.exists(e, e.matches("^x"))`},
		{"user.groups: null", `!session.api.groups.exists(e, true)`},
		{"impersonatedUser.username|exists: true", `session.api.impersonated.ilike("*")`},
		{"userAgent|contains: curl", `session.actor.user_agent.ilike("*curl*")`},
		{"sourceIPs|cidr: [10.0.0.0/8, 192.0.2.0/24]", `session.actor.address.within("10.0.0.0/8") || session.actor.address.within("192.0.2.0/24")`},
		{"objectRef.subresource: null", `!(session.api.subresource in ["attach", "ephemeralcontainers", "exec", "portforward", "proxy"])`},
		{"objectRef.resource|re: '^(nod|serv)'", `session.api.resource in ["nodes", "services"]`},
	} {
		r, wrong := translate(t, kubernetes("selection:\n  "+strings.ReplaceAll(c.selection, "\n", "\n  ")+"\ncondition: selection"))
		if r == nil {
			t.Errorf("%s: %q", c.selection, wrong)
			continue
		}
		if r.When != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.selection, r.When, c.want)
		}
	}
}

// What is not supported is refused by its name, at its place.
func TestRefused(t *testing.T) {
	one := func(item string) string { return selection(item) }
	for _, c := range []struct{ name, text, want string }{
		{"modifier", one("CommandLine|contians: a"), `7:17: unknown modifier "contians" (did you mean "contains"?)`},
		{"fieldref", one("Image|fieldref: ParentImage"), `7:11: the modifier "fieldref" is not supported (two fields of one event cannot be compared)`},
		{"expand", one("User|expand: '%admins%'"), `7:10: the modifier "expand" is not supported (there are no placeholders`},
		{"time", one("Image|hour: 3"), `7:11: the modifier "hour" is not supported`},
		{"two comparisons", one("Image|contains|re: a"), `7:20: the modifiers contains and re do not go together`},
		{"encoded expression", one("Image|base64|re: a"), `7:5: the modifiers re and base64 do not go together`},
		{"field", one("Imgae: a"), `7:5: the field "Imgae" is not one of process creation that sessions carry (did you mean "Image"?)`},
		{"OriginalFileName", one("OriginalFileName: a"), `7:5: the field "OriginalFileName" is not supported: only programs of Windows carry it`},
		{"CurrentDirectory", one("CurrentDirectory: /tmp"), `7:5: the field "CurrentDirectory" is not supported: the working directory is not recorded`},
		{"keywords", process("keywords:\n  - a\n  - b\ncondition: keywords"), `7:7: keywords are not supported: there is no log line`},
		{"keyword map", process("keywords:\n  '|all': [a, b]\ncondition: keywords"), `7:5: keywords are not supported`},
		{"null in a list", one("Image: [a, null]"), `7:16: null stands in no list (give it a selection of its own)`},
		{"lookahead", one("CommandLine|re: 'a(?!b)'"), "7:21: regexp: invalid or unsupported Perl syntax: `(?!` (regular expressions are those of RE2"},
		{"number", one("CommandLine|gt: 3"), `7:5: gt: the field is a command line, and no number`},
		{"text of a number", one("ProcessId|contains: 3"), `7:5: the field is a number, and no text (numbers are compared with gt, gte, lt and lte)`},
		{"no number", one("ProcessId: abc"), `7:16: "abc": want a whole number`},
		{"cidr", one("Image|cidr: 10.0.0.0/8"), `7:5: cidr: the field is no address`},
		{"exists", one("Image|exists: maybe"), `7:19: exists: want true or false`},
		{"wildcard in base64", one("CommandLine|base64: 'a*'"), `7:25: base64: a text with wildcards cannot be encoded`},
		{"bare utf16", one("CommandLine|utf16: a"), `7:24: in UTF-16 no command line has the value (put base64 after it)`},
		{"twice", one("Image: a\nImage: b"), `8:5: "Image" is already set in line 7`},
		{"no fields", process("selection: {}\ncondition: selection"), `6:14: a selection without fields`},
		{"no values", one("Image: []"), `7:12: Image: no values`},
		{"map as value", one("Image: {a: b}"), `7:12: want a text, a number or null`},
		{"pipe", process("selection: {Image: a}\ncondition: selection | count() by User > 5"),
			"7:24: what follows | is not supported: it is about several events (write it as a rule with `count:` or `sequence:`"},
		{"timeframe", process("selection: {Image: a}\ntimeframe: 5m\ncondition: selection"), `7:3: timeframe is not supported`},
		{"no such selection", process("selection: {Image: a}\ncondition: selecton"), `7:14: there is no selection "selecton" (did you mean "selection"?)`},
		{"no such selections", process("selection: {Image: a}\ncondition: 1 of filter_*"), `7:19: there is no selection "filter_*"`},
		{"too many", process("selection: {Image: a}\ncondition: 2 of selection*"), `7:14: 2 of 1 selections`},
		{"unclosed", process("selection: {Image: a}\ncondition: (selection"), `7:14: a parenthesis that is not closed`},
		{"unopened", process("selection: {Image: a}\ncondition: selection)"), `7:23: unexpected ")"`},
		{"ends", process("selection: {Image: a}\ncondition: selection and"), `7:27: the condition ends too early`},
		{"not a condition", process("selection: {Image: a}\ncondition: selection selection"), `7:24: unexpected "selection"`},
		{"near", process("selection: {Image: a}\ncondition: selection near selection"), `7:24: unexpected "near"`},
		{"of what", process("selection: {Image: a}\ncondition: 1 of"), "7:18: of what? (for example `1 of selection_*`)"},
		{"deep", process("selection: {Image: a}\ncondition: " + strings.Repeat("(", 20) + "selection" + strings.Repeat(")", 20)), `7:30: nested too deep`},
		{"several conditions", process("selection: {Image: a}\ncondition: [selection, selection]"), `7:14: several conditions are not supported`},
		{"no condition", process("selection: {Image: a}"), `5:1: a detection without condition`},
		{"windows", strings.Replace(one("Image: a"), "linux", "windows", 1),
			`3:3: the log source product windows, category process_creation is not one that sessions are made of`},
		{"no detection", "title: a\nlogsource: {product: linux, category: process_creation}\n", `1:1: a Sigma rule without detection`},
		{"correlation", "title: a\ncorrelation: {type: event_count}\n", "2:1: Sigma's \"correlation\" is not supported (write it as a rule with `count:`"},
		{"filter", "title: a\nlogsource: {product: linux}\nfilter: {rules: [x]}\n", `3:1: Sigma's "filter" is not supported`},
		{"taxonomy", "taxonomy: ecs\n" + one("Image: a"), `1:11: taxonomy "ecs" is not supported`},
		{"unsupported", "status: unsupported\n" + one("Image: a"), `1:9: the rule says of itself that it cannot be used`},
		{"level", "level: hihg\n" + one("Image: a"), `1:8: unknown level "hihg" (did you mean "high"?)`},
		{"no id", strings.Replace(one("Image: a"), "title: Some thing\n", "", 1), `1:1: a Sigma rule without a usable id`},
		{"bad id", "id: 'a b'\n" + one("Image: a"), `1:5: a Sigma rule without a usable id`},
		{"secrets", kubernetes("selection: {verb: list, objectRef.resource: secrets}\ncondition: selection"), `7:14: it can never hold: no session is made of such requests`},
		{"deletes", kubernetes("selection: {verb: delete, objectRef.resource: deployments}\ncondition: selection"), `7:14: it can never hold: no session is made of such requests`},
		{"one of two", kubernetes("a: {objectRef.resource: secrets}\nb: {verb: watch}\ncondition: a or b"), `8:14: it can never hold`},
		{"status code", kubernetes("selection: {responseStatus.code: 403}\ncondition: selection"), `6:15: the field "responseStatus.code" is not supported: sessions keep of the answer only`},
		{"object", kubernetes("selection: {'requestObject.spec.hostPID': true}\ncondition: selection"), `6:15: the field "requestObject.spec.hostPID" is not supported: sessions keep of what was written only the commands`},
		{"hostPath", kubernetes("selection: {hostPath: '*'}\ncondition: selection"), `6:15: the field "hostPath" is not supported: it is no field of an audit event`},
		{"range", kubernetes("selection: {sourceIPs|cidr: 10.0.0.0/40}\ncondition: selection"), `6:31: cidr: "10.0.0.0/40" is no range such as 10.0.0.0/8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, wrong := translate(t, c.text)
			if r != nil {
				t.Fatalf("accepted: %s", r.When)
			}
			if !strings.HasPrefix(wrong[0], c.want) {
				t.Errorf("got  %q\nwant %q", wrong, c.want)
			}
		})
	}
}

// A rule about other requests that says what it does not mean is one about ours.
func TestAnImpossibleFilterIsHarmless(t *testing.T) {
	r, wrong := translate(t, kubernetes("selection: {objectRef.resource: pods}\nfilter: {verb: watch}\ncondition: selection and not filter"))
	if r == nil || r.When != `session.api.resource == "pods" && !false` {
		t.Errorf("%+v %q", r, wrong)
	}
}

// What a rule says about itself is kept, and what is not is noted.
func TestSource(t *testing.T) {
	r, wrong := translate(t, `title: A Shell, in a Pod
author: Ann
license: MIT
description: |
  Two
  lines.
references: [https://example.com/a]
status: deprecated
tags: [attack.execution, attack.t1609, attack.T1059.004, attack.t1083, cve.2026-1]
level: informational
falsepositives: [Unknown]
logsource: {product: linux, category: process_creation}
detection:
  selection: {Image: a}
  unused: {Image: b}
  condition: selection
`)
	if r == nil {
		t.Fatal(wrong)
	}
	want := Rule{
		ID: "a-shell-in-a-pod", Title: "A Shell, in a Pod", Severity: "info", Attack: []attack.Technique{"T1609", "T1059.004"},
		When: `session.programs.exists(p, p.exe.ilike("a"))`,
		Source: Source{Author: "Ann", License: "MIT", Description: "Two\nlines.", References: []string{"https://example.com/a"}, Notes: []string{
			"falsepositives are prose and suppress nothing: a suppression names an actor, a workload and a command",
			"the rule is deprecated", "not in the vocabulary of techniques: T1083", "unused is in no condition",
		}},
	}
	r.IDNode, r.Condition = nil, nil
	if diff := cmp.Diff(want, *r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzTranslate: whatever a document holds, it is translated or refused with a
// reason.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(selection("CommandLine|windash|contains|all: [' -i ', x]")))
	f.Add([]byte(process("a: {Image: b}\nc: [{User: null}]\ncondition: 1 of them and not (2 of *)")))
	f.Add([]byte(kubernetes("a: {verb: create, sourceIPs|cidr: 10.0.0.0/8}\ncondition: all of a*")))
	f.Add([]byte(selection("CommandLine|utf16le|base64offset|contains: c")))
	f.Fuzz(func(t *testing.T, data []byte) {
		var doc yaml.Node
		if err := yaml.Load(data, &doc); err != nil || len(doc.Content) != 1 || hasAlias(&doc) {
			t.Skip("not YAML, or refused before")
		}
		Is(doc.Content[0])
		r, wrong := translate(t, string(data))
		if r != nil && (r.ID == "" || r.When == "" || r.Severity == "" || r.Condition == nil || r.IDNode == nil) {
			t.Fatalf("%+v", r)
		}
		for _, w := range wrong {
			if strings.HasSuffix(w, ": ") {
				t.Fatalf("%q", wrong)
			}
		}
	})
}

func hasAlias(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		return true
	}
	for _, c := range n.Content {
		if hasAlias(c) {
			return true
		}
	}
	return false
}
