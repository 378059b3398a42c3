package report_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/report"
	"github.com/sallyport/sallyport/internal/scan/report/reporttest"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// inFormat writes a report in a format.
func inFormat(t *testing.T, name string, r *report.Result) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch name {
	case "json":
		err = report.WriteJSON(&out, r)
	case "sarif":
		err = report.WriteSARIF(&out, r, "1.2.3")
	case "junit":
		err = report.WriteJUnit(&out, r)
	case "html":
		err = report.HTML(r, "1.2.3").Write(&out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
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
	r := reporttest.Result(t, reporttest.Inventory())
	var top junitElement
	if err := xml.Unmarshal(inFormat(t, "junit", r), &top); err != nil {
		t.Fatal(err)
	}
	top.valid(t)
	counting := r.Number(r.Counts)
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
// that forbids both and fits its style, and reporttest.Hostile names are text.
func TestHTMLIsSafe(t *testing.T) {
	page := inFormat(t, "html", reporttest.Result(t, reporttest.Inventory()))
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
	sum := sha256.Sum256([]byte(style))
	only := "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	if css, err := os.ReadFile("report.css"); err != nil || style != string(css) || policy != only {
		t.Errorf("the policy %q is not that of the style", policy)
	}
	shown := `</script><script>alert(1)</script>"'>]]>&\e[2J\u202e\xff{{.}}`
	for _, want := range []string{"group:" + shown, "container " + shown, "waived by ann until 2027-01-31: it builds images ]]> <b>", "ClusterRoleBinding old", "exec: serviceaccount:ci/deploy"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no text %q", want)
		}
	}
	if elements["article"] != len(reporttest.Result(t, reporttest.Inventory()).Found) {
		t.Errorf("%d findings are shown", elements["article"])
	}
	for _, c := range string(page) {
		if c < ' ' && c != '\n' || c == '\u202e' || c == '\uFFFD' {
			t.Errorf("%q is in the page", c)
		}
	}
}

// TestSARIFTellsAll: the log with paths, suppressions and a baseline is valid, too, and
// has them.
func TestSARIFTellsAll(t *testing.T) {
	r := reporttest.Result(t, reporttest.Inventory())
	log := report.SARIF(r, "1.2.3")
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
	r := reporttest.Result(t, reporttest.Inventory())
	r.Waived = make([]*waiver.Waiver, len(r.Found)) // what was waived would count
	b, err := baseline.Parse("x", bytes.NewReader(inFormat(t, "json", r)))
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
		r := reporttest.Named(reporttest.AnyName().Draw(rt, "name"))
		var top junitElement
		if err := xml.Unmarshal(inFormat(t, "junit", r), &top); err != nil {
			rt.Fatal(err)
		}
		if got := top.count("failure"); got != len(r.Found) {
			rt.Errorf("%d failures of %d", got, len(r.Found))
		}
		doc, err := html.Parse(bytes.NewReader(inFormat(t, "html", r)))
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
		for _, format := range []string{"json", "sarif"} {
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
