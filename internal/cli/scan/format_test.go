package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

var scanTime = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// hostile is a name that would break out of whatever does not escape it.
const hostile = "</script><script>alert(1)</script>\"'>]]>&\x1b[2J\u202e\xff{{.}}"

// scannedInventory is a small one with something of everything: bindings, pods that lead
// on, a host with an engine, names that are hostile, gaps and broken input.
func scannedInventory() *inventory.Inventory {
	at := func(line int) inventory.Origin { return inventory.Origin{Source: "deploy/a b.yaml", Line: line} }
	object := func(namespace, name string, line int) inventory.Object {
		return inventory.Object{Namespace: namespace, Name: name, Origin: at(line)}
	}
	pod := func(namespace, name, account string, line int) inventory.Pod {
		return inventory.Pod{Object: object(namespace, name, line), Node: "n1", Template: inventory.Template{
			ServiceAccount: account, Token: inventory.Yes, Containers: []inventory.Container{{Name: "app"}},
		}}
	}
	exec := inventory.Rule{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{"pods/exec"}, Line: 24}
	c := &inventory.Cluster{
		Version:    inventory.Version{Major: 1, Minor: 37},
		Namespaces: []inventory.Namespace{{Object: object("", "shop", 1), Enforce: "restricted"}, {Object: object("", "ci", 2), Enforce: "restricted"}},
		Pods:       []inventory.Pod{pod("shop", "web", "web", 3), pod("ci", "runner", "deploy", 9)},
		Roles:      []inventory.Role{{Object: object("shop", "exec", 20), Rules: []inventory.Rule{exec}}},
		Bindings: []inventory.Binding{
			{Object: object("shop", "devs", 30), Role: "exec", Subjects: []inventory.Subject{{Kind: inventory.Group, Name: hostile}}},
			{Object: object("shop", "deploy", 36), Role: "exec", Subjects: []inventory.Subject{{Kind: inventory.ServiceAccountSubject, Namespace: "ci", Name: "deploy"}}},
		},
	}
	c.Pods[0].Containers[0].Privileged = true
	return &inventory.Inventory{
		Time: scanTime, Cluster: c,
		Hosts: []inventory.Host{{
			Name: "edge1", Users: []inventory.Account{{Name: "root"}},
			Sockets:   []inventory.Socket{{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660}},
			Listeners: []inventory.Listener{{Service: inventory.ServiceDocker, Address: "192.0.2.1:2375", TLS: inventory.No, ClientCert: inventory.No}},
			Docker:    &inventory.Docker{Version: "29.0", Socket: "/run/docker.sock", Seccomp: "builtin", AppArmor: inventory.Yes, UserNS: inventory.Unknown},
			Running:   []inventory.DockerOrCRI{{ID: "1", Container: inventory.Container{Name: hostile, Privileged: true}}},
		}},
		Unread: []inventory.Unread{{What: inventory.PartTokenSecrets, From: "prod", Why: "forbidden: " + hostile, Help: "ask for it"}},
	}
}

// scannedResult applies a waiver and a baseline to it.
func scannedResult(t *testing.T, i *inventory.Inventory) *result {
	t.Helper()
	waivers, err := waiver.Parse("waivers.yaml", []byte(`version: 1
waivers:
  - {rule: SP-DKR-021, object: "host:edge1/*", owner: ann, reason: "it builds images ]]> <b>", expires: 2027-01-31}
  - {rule: SP-K8S-00*, object: "RoleBinding old/*", owner: bob, reason: migration, expires: 2026-11-01}
`), checkIDs(), scanTime)
	if err != nil {
		t.Fatal(err)
	}
	gone := finding.NewID("SP-K8S-005", "ClusterRoleBinding old")
	kept := finding.NewID("SP-DKR-001", "host:edge1/docker/tcp/192.0.2.1:2375")
	before, err := baseline.Parse("before.json", strings.NewReader(fmt.Sprintf(
		`{"id":%q,"rule":"SP-K8S-005","severity":"high","subject":"ClusterRoleBinding old"}
{"id":%q,"rule":"SP-DKR-001","severity":"critical","subject":"host:edge1/docker/tcp/192.0.2.1:2375"}
{"coverage":{"not_read":[]}}
`, gone, kept)))
	if err != nil {
		t.Fatal(err)
	}
	r := newResult(i, analyse(i), waivers, before, scanTime)
	r.limit, r.since = finding.High, "before.json"
	return r
}

func checkIDs() (out []string) {
	for _, r := range checks.Rules() {
		out = append(out, r.ID)
	}
	return out
}

var goldenReports = flag.Bool("reports", false, "write testdata/report instead of comparing with it")

// inFormat writes a report in a format, without what differs from build to build.
func inFormat(t *testing.T, name string, r *result) []byte {
	t.Helper()
	var out bytes.Buffer
	env := &terminal.Env{Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }}
	var err error
	if name == formatOCSF {
		err = writeOCSF(&out, export.Origin{Host: "edge1", Version: "1.2.3"}, r)
	} else {
		n := slices.Index(formatNames(), name)
		err = reportFormats[n].write(env, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte(build.This().Version), []byte("1.2.3"))
}

// TestReports holds every format to a golden file.
func TestReports(t *testing.T) {
	for _, name := range formatNames() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "report", "report."+name)
			got := inFormat(t, name, scannedResult(t, scannedInventory()))
			if *goldenReports {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run: go test -run TestReports . -args -reports", err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("run: go test -run TestReports . -args -reports\n%s", d)
			}
		})
	}
}

// junitMay lists what JUnit's schema (that of Jenkins' xUnit plugin) lets an element
// have: attributes, those with ! required, and children.
var junitMay = map[string]struct{ attributes, children []string }{
	"testsuites": {[]string{"name", "tests", "failures", "errors", "disabled", "time"}, []string{"testsuite"}},
	"testsuite":  {[]string{"!name", "!tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id"}, []string{"properties", "testcase", "system-out", "system-err"}},
	"testcase":   {[]string{"!name", "classname", "time"}, []string{"skipped", "error", "failure", "system-out", "system-err"}},
	"skipped":    {[]string{"message", "type"}, nil},
	"failure":    {[]string{"message", "type"}, nil},
}

// junitElement is any element.
type junitElement struct {
	XMLName  xml.Name
	Attrs    []xml.Attr     `xml:",any,attr"`
	Text     string         `xml:",chardata"`
	Children []junitElement `xml:",any"`
}

func (e *junitElement) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// valid checks an element and those in it against junitMay, and its counts.
func (e *junitElement) valid(t *testing.T) {
	t.Helper()
	may, ok := junitMay[e.XMLName.Local]
	if !ok {
		t.Fatalf("there is no element %s", e.XMLName.Local)
	}
	for _, a := range e.Attrs {
		if !slices.Contains(may.attributes, a.Name.Local) && !slices.Contains(may.attributes, "!"+a.Name.Local) {
			t.Errorf("%s has no attribute %s", e.XMLName.Local, a.Name.Local)
		}
	}
	for _, a := range may.attributes {
		if name, must := strings.CutPrefix(a, "!"); must && e.attr(name) == "" {
			t.Errorf("%s has no %s", e.XMLName.Local, name)
		}
	}
	for n := range e.Children {
		c := &e.Children[n]
		if !slices.Contains(may.children, c.XMLName.Local) {
			t.Errorf("%s in %s", c.XMLName.Local, e.XMLName.Local)
		}
		c.valid(t)
	}
	if e.attr("tests") != "" {
		for attr, element := range map[string]string{"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"} {
			if got := e.attr(attr); got != "" && got != fmt.Sprint(e.count(element)) {
				t.Errorf("%s %s: %s=%s, and %d are there", e.XMLName.Local, e.attr("name"), attr, got, e.count(element))
			}
		}
	}
}

func (e *junitElement) count(name string) (n int) {
	for i := range e.Children {
		if e.Children[i].XMLName.Local == name {
			n++
		}
		n += e.Children[i].count(name)
	}
	return n
}

// TestJUnitIsValid holds the XML to JUnit's structure, and to how the checks ended.
func TestJUnitIsValid(t *testing.T) {
	r := scannedResult(t, scannedInventory())
	var top junitElement
	if err := xml.Unmarshal(inFormat(t, formatJUnit, r), &top); err != nil {
		t.Fatal(err)
	}
	top.valid(t)
	counting := r.number(r.counts)
	if got := top.count("failure"); got != counting || got == 0 {
		t.Errorf("%d failures, and %d findings count", got, counting)
	}
	seen, skipped := map[string]bool{}, ""
	for i := range top.Children {
		for n := range top.Children[i].Children {
			c := &top.Children[i].Children[n]
			key := c.attr("classname") + " " + c.attr("name")
			if seen[key] {
				t.Errorf("two cases are %s", key)
			}
			seen[key] = true
			for k := range c.Children {
				if c.Children[k].XMLName.Local == "skipped" {
					skipped += c.attr("classname") + " " + c.Children[k].attr("message") + "\n"
				}
			}
		}
	}
	for _, want := range []string{
		"SP-DKR-021 waived by ann until 2027-01-31: it builds images ]]> <b> (waivers.yaml:3)",
		"SP-DKR-007 unknown: user_ns of the Docker daemon could not be found out",
		"SP-DKR-001 in the baseline: ", "SP-K8S-010 unknown: token secrets of prod not read: forbidden", "coverage not read: forbidden",
	} {
		if !strings.Contains(skipped, want) {
			t.Errorf("no skipped case %q in\n%s", want, skipped)
		}
	}
	if !seen["SP-K8S-005 A binding allows nodes/proxy: "+checks.Everything] {
		t.Error("a rule that passed has no case")
	}
}

// TestHTMLIsSafe parses the page: it has no script, nothing that is fetched, a policy
// that forbids both and fits its style, and hostile names are text.
func TestHTMLIsSafe(t *testing.T) {
	page := inFormat(t, formatHTML, scannedResult(t, scannedInventory()))
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	elements, policy, style := map[string]int{}, "", ""
	for n := range doc.Descendants() {
		switch n.Type {
		case html.TextNode:
			text.WriteString(n.Data + "\n")
		case html.ElementNode:
			elements[n.Data]++
			a := map[string]string{}
			for _, x := range n.Attr {
				a[x.Key] = x.Val
				if x.Key == "src" || x.Key == "href" || x.Key == "style" || strings.HasPrefix(x.Key, "on") {
					t.Errorf("<%s %s=%q>", n.Data, x.Key, x.Val)
				}
			}
			if a["http-equiv"] == "Content-Security-Policy" {
				policy = a["content"]
			}
			if n.Data == "style" {
				style = n.FirstChild.Data
			}
		}
	}
	allowed := []string{
		"html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "h1", "h2", "h3", "p", "ul", "ol", "li", "b", "br",
		"code", "pre", "span", "details", "summary", "div", "table", "thead", "tbody", "tr", "th", "td",
	}
	for e := range elements {
		if !slices.Contains(allowed, e) {
			t.Errorf("there is a <%s>", e)
		}
	}
	if style != htmlStyle || policy != stylePolicy(style) || !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("the policy %q is not that of the style", policy)
	}
	shown := `</script><script>alert(1)</script>"'>]]>&\e[2J\u202e\xff{{.}}`
	for _, want := range []string{"group:" + shown, "container " + shown, "waived by ann until 2027-01-31: it builds images ]]> <b>", "ClusterRoleBinding old", "exec: serviceaccount:ci/deploy"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no text %q", want)
		}
	}
	if elements["article"] != len(scannedResult(t, scannedInventory()).Found) {
		t.Errorf("%d findings are shown", elements["article"])
	}
	for _, c := range string(page) {
		if c < ' ' && c != '\n' || c == '\u202e' || c == '\uFFFD' {
			t.Errorf("%q is in the page", c)
		}
	}
}

// TestOCSFIsValid holds every line to the schema of OCSF 1.8.0, and the statuses to how
// the checks ended.
func TestOCSFIsValid(t *testing.T) {
	schema := exporttest.Schema(t, "../../export/ocsf/testdata/ocsf.schema.json")
	r := scannedResult(t, scannedInventory())
	got := map[string]int{}
	uids := map[any]bool{}
	for line := range bytes.Lines(inFormat(t, formatOCSF, r)) {
		doc, err := exporttest.Check(schema, line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		e := doc.(map[string]any)
		got[fmt.Sprint(e["compliance"].(map[string]any)["status"], " ", e["status"])]++
		uid := e["metadata"].(map[string]any)["uid"]
		if uids[uid] {
			t.Errorf("two checks have the uid %v", uid)
		}
		uids[uid] = true
	}
	want := map[string]int{"Fail Suppressed": 1, "Fail New": len(r.Found) - 1}
	for _, o := range r.outcomes() {
		switch o.Result {
		case checks.Passed:
			want["Pass <nil>"]++
		case checks.Unknown:
			want["Warning <nil>"]++
		case checks.Failed:
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestSARIFTellsAll: the log with paths, suppressions and a baseline is valid, too, and
// has them.
func TestSARIFTellsAll(t *testing.T) {
	r := scannedResult(t, scannedInventory())
	log := sarifLog(r)
	if err := log.Validate(); err != nil {
		t.Error(err)
	}
	flows, suppressed, states := map[string][]string{}, 0, map[string]int{}
	for n, result := range log.Runs[0].Results {
		suppressed += len(result.Suppressions)
		states[*result.BaselineState]++
		for _, f := range result.CodeFlows {
			for _, l := range f.ThreadFlows[0].Locations {
				where := "-"
				if p := l.Location.PhysicalLocation; p != nil {
					where = fmt.Sprintf("%s:%d", *p.ArtifactLocation.URI, *p.Region.StartLine)
				}
				flows[r.Found[n].Rule] = append(flows[r.Found[n].Rule], where+" "+*l.Location.Message.Text)
			}
		}
	}
	want := map[string][]string{
		"SP-PATH-001": {
			"deploy/a%20b.yaml:3 N2 break out: pod shop/web -> root on node n1: container app: privileged",
			"- N1 root on the node: root on node n1 -> pods on node n1: root on a node has its runtime's socket and the kubelet's key",
		},
		"SP-PATH-002": {
			"deploy/a%20b.yaml:9 token in the pod: pod ci/runner -> serviceaccount:ci/deploy: the token of the pod's service account is in the pod",
			"deploy/a%20b.yaml:36 X1 exec: serviceaccount:ci/deploy -> every pod in namespace shop by RoleBinding shop/deploy",
			"deploy/a%20b.yaml:24 Role shop/exec rule 1: create pods/exec",
			"- N2 break out: pod shop/web -> root on node n1: container app: privileged",
		},
	}
	if d := cmp.Diff(want, flows); d != "" {
		t.Error(d)
	}
	if suppressed != 1 || states["unchanged"] != 1 || states["new"] != len(r.Found)-1 {
		t.Errorf("%d suppressed, states %v", suppressed, states)
	}
}

// TestJSONIsItsOwnBaseline: a report in JSON taken as a baseline makes everything the same.
func TestJSONIsItsOwnBaseline(t *testing.T) {
	r := scannedResult(t, scannedInventory())
	r.waived = make([]*waiver.Waiver, len(r.Found)) // what was waived would count
	b, err := baseline.Parse("x", bytes.NewReader(inFormat(t, formatJSON, r)))
	if err != nil {
		t.Fatal(err)
	}
	changes, gone := b.Compare(r.Found, func(int) bool { return false })
	if len(gone) > 0 || slices.ContainsFunc(changes, func(c baseline.Change) bool { return c != baseline.Same }) {
		t.Errorf("%v, gone %v", changes, gone)
	}
}

// TestAnyNameIsTold: whatever objects are called, every format can be read back, and has
// as many findings as there are.
func TestAnyNameIsTold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }), rapid.SampledFrom([]string{
			hostile, "\x00\ufffe\u2028--><!--", "]]>", "</style><b>", "`${x}`",
		})).Draw(rt, "name")
		i := scannedInventory()
		i.Cluster.Bindings[0].Subjects[0].Name, i.Cluster.Bindings[1].Name, i.Hosts[0].Running[0].Name, i.Unread[0].Why = name, name, name, name
		r := newResult(i, analyse(i), nil, nil, scanTime)
		var top junitElement
		if err := xml.Unmarshal(inFormat(t, formatJUnit, r), &top); err != nil {
			rt.Fatal(err)
		}
		if got := top.count("failure"); got != len(r.Found) {
			rt.Errorf("%d failures of %d", got, len(r.Found))
		}
		doc, err := html.Parse(bytes.NewReader(inFormat(t, formatHTML, r)))
		if err != nil {
			rt.Fatal(err)
		}
		articles := 0
		for n := range doc.Descendants() {
			switch {
			case n.Type == html.CommentNode, n.Data == "script", n.Type == html.ElementNode && n.Data == "b" && n.Parent.Data != "li":
				rt.Errorf("<%s>", n.Data)
			case n.Type == html.ElementNode && n.Data == "article":
				articles++
			}
		}
		if articles != len(r.Found) {
			rt.Errorf("%d findings of %d are shown", articles, len(r.Found))
		}
		for _, format := range []string{formatJSON, formatSARIF, formatOCSF} {
			dec := json.NewDecoder(bytes.NewReader(inFormat(t, format, r)))
			for {
				var v map[string]any
				if err := dec.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					rt.Fatalf("%s: %v", format, err)
				}
			}
		}
	})
}

// full is a writer whose disk is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestScanExitStatuses holds the statuses that docs/guide/scan.md promises.
func TestScanExitStatuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	bad := file("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: x}]}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: ops}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: User, name: root, apiGroup: rbac.authorization.k8s.io}]\n")
	fine := file("fine.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	broken := file("broken.yaml", "kind: {{ .Values.x }}\n")
	kubelet := file("kubelet.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {x509: {clientCAFile: /ca}, anonymous: {enabled: false}}\nauthorization: {mode: Webhook}\nreadOnlyPort: 0\n")
	soon := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	waivers := file("waivers.yaml", "version: 1\nwaivers:\n  - {rule: SP-K8S-001, object: ClusterRoleBinding ops, owner: ann, reason: so, expires: "+soon+"}\n")
	late := file("late.yaml", "version: 1\nwaivers:\n  - {rule: SP-K8S-001, object: ClusterRoleBinding ops, owner: ann, reason: so, expires: 2020-01-01}\n")
	var report bytes.Buffer
	run := func(stdout io.Writer, args ...string) int {
		env := &terminal.Env{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: io.Discard, Getenv: func(string) string { return "" }}
		return execute(context.Background(), env, args)
	}
	if got := run(&report, "--from", bad, "--format", "json"); got != exit.Findings {
		t.Fatalf("%d", got)
	}
	before := file("before.json", report.String())
	for _, c := range []struct {
		want int
		args []string
	}{
		{exit.Fine, []string{"--from", fine}},
		{exit.Fine, []string{"--from", fine, "--require-coverage"}},
		{exit.Findings, []string{"--from", bad}},
		{exit.Findings, []string{"--from", bad, "--fail-on", "critical"}},
		{exit.Fine, []string{"--from", bad, "--fail-on", "never"}},
		{exit.Findings, []string{"--from", bad, "--from", broken, "--require-coverage"}},
		{exit.Incomplete, []string{"--from", fine, "--from", broken, "--require-coverage"}},
		{exit.Fine, []string{"--from", fine, "--from", broken}},
		{exit.Incomplete, []string{"--from", fine, "--from", kubelet, "--require-coverage"}},
		{exit.Fine, []string{"--from", fine, "--from", kubelet}},
		{exit.Fine, []string{"--from", bad, "--waivers", waivers}},
		{exit.Fine, []string{"--from", bad, "--waivers", waivers, "--fail-on", "low"}},
		{exit.Findings, []string{"--from", bad, "--waivers", late}},
		{exit.Fine, []string{"--from", fine, "--waivers", waivers, "--fail-on", "low"}}, // it waives nothing: info
		{exit.Findings, []string{"--from", fine, "--waivers", waivers, "--fail-on", "info"}},
		{exit.Fine, []string{"--from", bad, "--baseline", before}},
		{exit.Findings, []string{"--from", bad, "--baseline", before, "--waivers", late, "--fail-on", "low"}},
		{exit.Usage, []string{"--from", filepath.Join(dir, "none.yaml")}},
		{exit.Usage, []string{"--from", bad, "--format", "xml"}},
		{exit.Usage, []string{"--from", bad, "--fail-on", "bad"}},
		{exit.Usage, []string{"--from", bad, "--waivers", bad}},
		{exit.Usage, []string{"--from", bad, "--waivers", filepath.Join(dir, "none")}},
		{exit.Usage, []string{"--from", bad, "--baseline", bad}},
		{exit.Usage, []string{"--from", bad, "--baseline", filepath.Join(dir, "none")}},
		{exit.Usage, []string{"--no-such-flag"}},
		{exit.Usage, []string{"explain", "SP-NO-001"}},
		{exit.Usage, []string{"explain", "--from", bad, "aaaaaaaaaaaaaaaa"}},
		{exit.Fine, []string{"explain", "SP-K8S-001"}},
		{exit.Fine, []string{"explain", "--from", bad, string(finding.NewID("SP-K8S-001", "ClusterRoleBinding ops"))}},
	} {
		for _, format := range formatNames() {
			args := c.args
			if !slices.Contains(args, "--format") && args[0] == "--from" {
				args = append(slices.Clone(args), "--format", format)
			}
			if got := run(io.Discard, args...); got != c.want {
				t.Errorf("%q: %d, want %d", args, got, c.want)
			}
		}
	}
	for _, format := range formatNames() { // a report that was not written is no report with findings
		if got := run(full{}, "--from", bad, "--format", format); got != exit.Usage {
			t.Errorf("%s to a full disk: %d", format, got)
		}
	}
}
