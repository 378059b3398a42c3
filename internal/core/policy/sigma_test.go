package policy

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

func sigmaRule(logsource, detection string) string {
	return "title: R\nlevel: high\nlogsource: " + logsource + "\ndetection:\n  " + strings.ReplaceAll(detection, "\n", "\n  ") + "\n"
}

const (
	onProcesses = "{product: linux, category: process_creation}"
	onAudit     = "{product: kubernetes, service: audit}"
)

// What Sigma rules about processes say of sessions, by the engine's own answers.
func TestSigmaProcesses(t *testing.T) {
	const yes, no, unknown = "yes", "no", "unknown"
	cut := func(p *session.Process) { p.ArgvHash = "ff" }
	joined := func(p *session.Process) { p.Argv, p.ArgvJoined = []string{strings.Join(p.Argv, " ")}, true }
	forked := func(p *session.Process) { p.Forked, p.Exe, p.Argv = true, "", nil }
	root := func(p *session.Process) { p.UID = 0 }
	logged := func(p *session.Process) { p.ID = event.LoggedProcess(1, at) }
	before := func(lines ...string) func(*session.Process) {
		return func(p *session.Process) {
			for _, l := range lines {
				p.Execs = append(p.Execs, session.Program{Argv: strings.Fields(l), Exe: "/bin/" + strings.Fields(l)[0]})
			}
		}
	}
	sel := func(s string) string { return "selection: {" + s + "}\ncondition: selection" }
	for _, c := range []struct {
		name, detection string
		s               session.Session
		want            string
	}{
		{"image", sel("Image|endswith: /curl"), exec("ann", tree(ran(1, 0, "/usr/bin/curl", "curl x", nil))), yes},
		{"case", sel("Image|endswith: /CURL, CommandLine|contains: ' X'"), exec("ann", tree(ran(1, 0, "/usr/bin/Curl", "curl x", nil))), yes},
		{"cased", sel("CommandLine|contains|cased: ' X'"), exec("ann", tree(ran(1, 0, "/usr/bin/curl", "curl x", nil))), no},
		{"other image", sel("Image|endswith: /curl"), exec("ann", tree(ran(1, 0, "/usr/bin/curl2", "curl x", nil))), no},
		{"one program has to fit", sel("Image|endswith: /curl, CommandLine|contains: evil"),
			exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil", nil), ran(2, 1, "/usr/bin/curl", "curl good", nil))), no},
		{"and also by what it is not", "selection: {Image|endswith: /curl}\nfilter: {CommandLine|contains: good}\ncondition: selection and not filter",
			exec("ann", tree(ran(1, 0, "/bin/sh", "sh good", nil), ran(2, 1, "/usr/bin/curl", "curl x", nil))), yes},
		{"filtered", "selection: {Image|endswith: /curl}\nfilter: {CommandLine|contains: good}\ncondition: selection and not filter",
			exec("ann", tree(ran(1, 0, "/usr/bin/curl", "curl good", nil))), no},
		{"a program that was replaced", sel("Image: /bin/sh, CommandLine|contains: ' -c '"),
			exec("ann", tree(ran(1, 0, "/bin/id", "id", before("sh -c id")))), yes},
		{"nobody watched", sel("Image|endswith: /curl"), exec("ann"), unknown},
		{"lost records", sel("Image|endswith: /curl"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh", nil)), func(s *session.Session) { s.LostRecords = 1 }), unknown},
		{"no processes at all", sel("Image|endswith: /curl"), exec("ann", func(s *session.Session) { s.Kind, s.Channel = session.KindAttach, event.ChannelKubeAttach }), no},
		{"an image that is not known", sel("Image|endswith: /curl"), exec("ann", tree(ran(1, 0, "", "curl x", nil))), unknown},
		{"a command that is not known", sel("CommandLine|contains: x"), exec("ann", tree(ran(1, 0, "/bin/sh", "", nil))), unknown},
		{"cut, seen", sel("CommandLine|contains: evil"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil aaaa", cut))), yes},
		{"cut, not seen", sel("CommandLine|contains: evil"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh aaaa", cut))), unknown},
		{"cut, begins otherwise", sel("CommandLine|startswith: 'bash '"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh aaaa", cut))), no},
		{"cut, filtered all the same", "selection: {CommandLine|contains: a}\nfilter: {CommandLine|contains: evil}\ncondition: selection and not filter",
			exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil aaaa", cut))), no},
		{"cut, expression", sel("CommandLine|re: evil"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil", cut))), unknown},
		{"joined", sel("CommandLine|contains: 'sh evil'"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil aaaa", joined))), yes},
		{"joined, expression", sel("CommandLine|re: 'sh\\s+evil'"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh evil aaaa", joined))), yes},
		{"parent", sel("ParentImage|endswith: /nginx, Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/usr/sbin/nginx", "nginx", nil), ran(2, 1, "/usr/bin/id", "id", nil))), yes},
		{"another parent", sel("ParentImage|endswith: /nginx, Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/usr/sbin/nginx", "nginx", nil), ran(2, 1, "/bin/sh", "sh", nil), ran(3, 2, "/usr/bin/id", "id", nil))), no},
		{"the parent's command", sel("ParentCommandLine|contains|all: [java, tomcat], Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/opt/java", "java -x TomCat", nil), ran(2, 1, "/usr/bin/id", "id", nil))), yes},
		{"a subshell is its parent", sel("ParentImage|endswith: /nginx, Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/usr/sbin/nginx", "nginx", nil), ran(2, 1, "", "", forked), ran(3, 2, "/usr/bin/id", "id", nil))), yes},
		{"who came from outside has no parent", sel("ParentImage|endswith: /nginx"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", nil))), no},
		{"and is not filtered by one", "selection: {Image|endswith: /id}\nfilter: {ParentCommandLine|contains: x}\ncondition: selection and not filter",
			exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", nil))), yes},
		{"no parent", sel("ParentImage: null"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", nil))), yes},
		{"a parent that was not seen", sel("ParentImage|endswith: /nginx, Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/bin/sh", "sh", nil), ran(3, 2, "/usr/bin/id", "id", nil))), unknown},
		{"a parent that ran several programs", sel("ParentImage|endswith: /nginx, Image|endswith: /id"),
			exec("ann", tree(ran(1, 0, "/usr/sbin/nginx", "nginx", before("sh -c nginx")), ran(2, 1, "/usr/bin/id", "id", nil))), unknown},
		{"logs do not say who came from outside", sel("ParentImage|endswith: /nginx"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", logged))), unknown},
		{"root", sel("User: root"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", root))), yes},
		{"a user of whom the number is known", sel("User: root"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", nil))), unknown},
		{"a named user", sel("User: Web"), exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", func(p *session.Process) { p.UserName = "web" }))), yes},
		{"pid", sel("ProcessId: 2, ParentProcessId|lt: 2"), exec("ann", tree(ran(1, 0, "/bin/sh", "sh", nil), ran(2, 1, "/bin/sh", "sh", nil))), yes},
		{"expression", sel(`CommandLine|re: '\s-[A-Z]\s'`), exec("ann", tree(ran(1, 0, "/bin/a", "a -x b", nil))), no},
		{"expression without case", sel(`CommandLine|re|i: '\s-[A-Z]\s'`), exec("ann", tree(ran(1, 0, "/bin/a", "a -x b", nil))), yes},
		{"dashes", sel(`CommandLine|windash|contains: ' -x'`), exec("ann", tree(ran(1, 0, "/bin/a", "a /x b", nil))), yes},
		{"docker, too", sel("Image|endswith: /id"), exec("ann", docker, tree(ran(1, 0, "/usr/bin/id", "id", nil))), yes},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := load(t, sigmaRule(onProcesses, c.detection))
			if got := answerOf(set, &c.s); got != c.want {
				t.Errorf("%s\nof %+v: %s, want %s", set.rules[0].When, c.s.Processes, got, c.want)
			}
		})
	}
}

func answerOf(set *Set, s *session.Session) string {
	switch a := judge(set, s); {
	case a.Err() != nil:
		return a.Err().Error()
	case a.Unknown():
		return "unknown"
	case a.Yes:
		return "yes"
	}
	return "no"
}

// What Sigma rules about the audit log say of sessions.
func TestSigmaAudit(t *testing.T) {
	const yes, no, unknown = "yes", "no", "unknown"
	with := func(k session.Kind, c event.Channel, change ...func(*session.Session)) session.Session {
		return exec("ann", append([]func(*session.Session){func(s *session.Session) { s.Kind, s.Channel = k, c }}, change...)...)
	}
	verb := func(v string) func(*session.Session) { return func(s *session.Session) { s.Verb = v } }
	workload := func(w string) func(*session.Session) {
		return func(s *session.Session) { s.Target.Workload, s.Target.Pod = w, "" }
	}
	admin := func(s *session.Session) {
		s.Actor.Impersonator = &session.Identity{User: "root", Groups: []string{"ops"}}
	}
	unexplained := func(s *session.Session) { nobody(s); s.Unexplained.Is = true }
	for _, c := range []struct {
		selection string
		s         session.Session
		want      string
	}{
		{"verb: get, objectRef.resource: pods, objectRef.subresource: exec", exec("ann"), yes},
		{"verb: create, objectRef.resource: pods, objectRef.subresource: exec", exec("ann"), no},
		{"verb: create, objectRef.subresource: exec", with(session.KindExec, event.ChannelKubeExecSPDY), yes},
		{"verb: create, objectRef.subresource: exec", with(session.KindCopy, event.ChannelKubeCopy), unknown},
		{"verb: create, objectRef.subresource: exec", with(session.KindCopy, event.ChannelKubeCopy, verb("create")), yes},
		{"objectRef.subresource: exec", with(session.KindExec, event.ChannelKubeletExec), no},
		{"objectRef.subresource: exec", exec("ann", docker), no},
		{"objectRef.subresource: exec", with(session.KindExec, event.ChannelUnknown), unknown},
		{"verb: create, objectRef.resource: pods, objectRef.namespace: PROD", with(session.KindStart, event.ChannelKubePod), yes},
		{"verb: create, objectRef.resource: pods, objectRef.namespace: dev", with(session.KindStart, event.ChannelKubePod), no},
		{"verb: create, objectRef.resource: pods", with(session.KindStart, event.ChannelKubeWorkload), yes},
		{"verb: create, objectRef.resource: pods", with(session.KindStart, event.ChannelKubePod, nobody), unknown},
		{"verb: create, objectRef.resource: pods", with(session.KindStart, event.ChannelKubePod, unexplained), no},
		{"verb: patch, objectRef.resource: deployments", with(session.KindChange, event.ChannelKubeWorkload, verb("patch"), workload("Deployment/web")), yes},
		{"verb: patch, objectRef.resource: deployments", with(session.KindChange, event.ChannelKubeWorkload, verb("update"), workload("Deployment/web")), no},
		{"verb: patch, objectRef.resource: deployments", with(session.KindChange, event.ChannelKubeWorkload, verb("patch"), workload("DaemonSet/web")), no},
		{"verb: patch, objectRef.resource: deployments", with(session.KindChange, event.ChannelKubeWorkload, verb("patch"), workload("")), unknown},
		{"objectRef.apiGroup: apps", with(session.KindChange, event.ChannelKubeWorkload, workload("StatefulSet/db")), yes},
		{"objectRef.apiGroup: batch", with(session.KindChange, event.ChannelKubeCron, workload("CronJob/x")), yes},
		{"objectRef.apiGroup: null", exec("ann"), yes},
		{"objectRef.name: web", with(session.KindChange, event.ChannelKubeWorkload, workload("Deployment/web")), yes},
		{"objectRef.name: web-0", exec("ann"), yes},
		{"objectRef.resource: nodes", with(session.KindExec, event.ChannelKubeNodeRun), yes},
		{"user.username: ann", exec("ann"), yes},
		{"user.username: ann", exec("ann", admin), no},
		{"user.username: root", exec("ann", admin), yes},
		{"user.groups: ops", exec("ann", admin), yes},
		{"impersonatedUser.username: ann", exec("ann", admin), yes},
		{"impersonatedUser.username|exists: true", exec("ann"), no},
		{"impersonatedUser.username|exists: false", exec("ann"), yes},
		{"user.username: ann", exec("", nobody), unknown},
		{"userAgent|contains: CURL", exec("ann", func(s *session.Session) { s.Actor.UserAgent = "curl/8" }), yes},
		{"sourceIPs|cidr: 10.0.0.0/8", exec("ann", func(s *session.Session) { s.Actor.Address = "10.1.2.3" }), yes},
		{"sourceIPs|cidr: 10.0.0.0/8", exec("ann", func(s *session.Session) { s.Actor.Address = "192.0.2.1" }), no},
	} {
		t.Run(fmt.Sprintf("%s of %s %s", c.selection, c.s.Kind, c.s.Channel), func(t *testing.T) {
			set := load(t, sigmaRule(onAudit, "selection: {"+c.selection+"}\ncondition: selection"))
			if got := answerOf(set, &c.s); got != c.want {
				t.Errorf("%s: %s, want %s", set.rules[0].When, got, c.want)
			}
		})
	}
}

// A rule about the audit log is asked only about the channels of its requests.
func TestSigmaIsIndexed(t *testing.T) {
	set := load(t, sigmaRule(onAudit, "selection: {verb: get, objectRef.resource: pods, objectRef.subresource: exec}\ncondition: selection"))
	var on []string
	for _, r := range set.Lint() {
		for _, c := range r.Channels {
			if c.Reach != ReachNone {
				on = append(on, string(c.Channel))
			}
		}
	}
	got := strings.Join(on, " ")
	if strings.Contains(got, "DK-") || strings.Contains(got, "SPDY") || strings.Contains(got, "K8-PF") || !strings.Contains(got, "K8-EXEC-WS") {
		t.Errorf("on %s", got)
	}
	s := exec("ann", docker)
	if c := set.index.candidates(&s); c.word(0) != 0 {
		t.Error("it is asked about an exec through Docker")
	}
}

// Sigma rules stand among ours, several in a file, and alone need no default.
func TestSigmaFiles(t *testing.T) {
	one := sigmaRule(onProcesses, "selection: {Image|endswith: /id}\ncondition: selection")
	two := "---\nid: 6a2f2ae1-3f1c-4f0e-9a39-111111111111\nauthor: 'Ann {{x}}'\n" + strings.Replace(one, "title: R", "title: Two", 1)
	set, err := Load([]File{{"a.yml", []byte(one + two)}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range set.Rules() {
		got = append(got, fmt.Sprintf("%s %s:%d %s %s %v %s", r.ID, r.File, r.Line, r.Title, r.Severity, r.Effects, r.Unknown))
	}
	want := []string{"r a.yml:1 R high [alert] pass", "6a2f2ae1-3f1c-4f0e-9a39-111111111111 a.yml:8 Two high [alert] pass"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if set.Default() != effect.Allow {
		t.Errorf("default %s", set.Default())
	}
	e := NewEngine(set)
	found := e.Observe(exec("ann", tree(ran(1, 0, "/usr/bin/id", "id", nil))))
	if len(found) != 2 || found[0].Severity != finding.High || found[0].Message != "R" || found[1].Message != "Two (Sigma rule by Ann {{x}})" {
		t.Errorf("found %+v", found)
	}

	ours := []byte("version: 1\ndefault: deny\nrules:\n  - {id: ours, effect: deny, severity: low, when: session.tty}\n")
	if set, err = Load([]File{{"ours.yaml", ours}, {"s.yml", []byte(one)}}); err != nil || len(set.Rules()) != 2 || set.Default() != effect.Deny {
		t.Errorf("together: %v", err)
	}
}

// Mistakes are said with file, line and column, all at once, beside those of
// other rules.
func TestSigmaErrors(t *testing.T) {
	good := sigmaRule(onProcesses, "selection: {Image: a}\ncondition: selection")
	for _, c := range []struct{ name, text, want string }{
		{"field", sigmaRule(onProcesses, "selection: {Imgae: a}\ncondition: selection"),
			`s.yml:5:15: the field "Imgae" is not one of process creation that sessions carry (did you mean "Image"?)`},
		{"inside a condition", sigmaRule(onProcesses, "selection: {Image: a}\ncondition: 'selection and selecton'"),
			`s.yml:6:29: there is no selection "selecton" (did you mean "selection"?)`},
		{"two of one title", good + "---\n" + good, `s.yml:8:8: rule r: there is another rule of this id in s.yml:1`},
		{"all", good + "---\nid: x\n" + sigmaRule(onProcesses, "a: {Image|expand: x}\nb: [y]\ncondition: 1 of them"),
			"s.yml:13:13: the modifier \"expand\" is not supported (there are no placeholders; write the values, or a rule of your own with `lists:`)\n" +
				"s.yml:14:7: keywords are not supported: there is no log line to look for them in (name the field in which to look)"},
		{"too long", sigmaRule(onProcesses, "selection: {CommandLine: ["+strings.Repeat("aaaaaaaaaaaaaaaaaaaa, ", 1000)+"b]}\ncondition: selection"),
			`s.yml:6:14: rule r: more than 16384 bytes`},
		{"ours and several", "version: 1\ndefault: allow\n---\nversion: 1\n", "s.yml: not one YAML document: expected single document, found multiple"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load([]File{{"s.yml", []byte(c.text)}})
			var errs source.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("error %v", err)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

// The guide's example is a rule, and what it says of it is so.
func TestSigmaGuide(t *testing.T) {
	text, err := os.ReadFile("../../../docs/guide/sigma.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	set, err := Load([]File{{"tool.yml", example[1]}})
	if err != nil {
		t.Fatal(err)
	}
	if when := set.Rules()[0].When; !strings.Contains(string(text), "\n"+when+"\n") {
		t.Errorf("the guide does not print %s", when)
	}
}

// FuzzSigma: what is translated is a rule that loads, or is refused with a place.
func FuzzSigma(f *testing.F) {
	f.Add([]byte(sigmaRule(onProcesses, "a: {Image|endswith: [/a, '/b?'], CommandLine|windash|contains|all: [' -i ', x]}\nb: {ParentImage: null}\ncondition: a and not b")))
	f.Add([]byte(sigmaRule(onAudit, "a: {verb: [create, get], objectRef.resource: pods*, user.groups|re|i: '^x'}\ncondition: 1 of a*")))
	f.Add([]byte(sigmaRule(onProcesses, `a: [{CommandLine|base64offset|contains: 'é"\x'}, {ProcessId|gt: 3}]`+"\ncondition: all of them")))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Load([]File{{"s.yml", data}})
		var errs source.Errors
		if err != nil {
			if !errors.As(err, &errs) {
				t.Fatalf("%T: %v", err, err)
			}
			for _, e := range errs {
				if strings.Contains(e.Message, "Syntax error") || strings.Contains(e.Message, "does not go with") {
					t.Fatalf("%v\n%s", err, data) // the translation is at fault, and not who wrote the rule
				}
			}
			return
		}
		for _, s := range []session.Session{exec("ann"), exec("ann", docker, tree(ran(1, 0, "/bin/sh", "sh -c id", nil), ran(2, 1, "", "x", nil)))} {
			e := NewEngine(set)
			e.Observe(s)
			e.Flush()
		}
		set.Lint()
	})
}
