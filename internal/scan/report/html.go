package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// The report in HTML is one file: no script, no font, no picture, nothing that is asked
// for over a network, and a policy that says so to the browser.
var (
	//go:embed report.html
	htmlText string
	//go:embed report.css
	htmlStyle string
)

// shown makes text from outside fit to be read; html/template does the escaping.
var htmlReport = template.Must(template.New("report").Funcs(template.FuncMap{"shown": printable.Text}).Parse(htmlText))

// Page is a report in HTML.
type Page struct {
	Policy  string
	Style   template.CSS
	Version string
	Taken   string
	Summary string
	Tiles   []htmlTile
	Groups  []htmlGroup
	Since   string
	Gone    []string
	NotNow  string
	Folded  int
	Ways    []htmlWay
	More    int // ways that are not listed
	Gaps    []checks.Gap
	Skipped []htmlLine
	Open    []htmlLine
	Passed  []htmlLine
}

type htmlTile struct{ Name, Number string }

type htmlLine struct{ Name, Why string }

type htmlGroup struct {
	Severity finding.Severity
	Findings []htmlFinding
}

type htmlFinding struct {
	*checks.Found
	Where, Score, State, Waived string
	Steps                       []htmlStep
	Refs                        []string
}

type htmlStep struct {
	Text string
	By   []string
}

// htmlWay is who can get a command run where, of a cluster or of a host's engine.
type htmlWay struct{ Actor, Where, Channel, Scope, By string }

// Write writes the page.
func (p *Page) Write(w io.Writer) error { return htmlReport.Execute(w, p) }

// HTML returns a report as one page of HTML.
func HTML(r *Result, version string) *Page {
	p := &Page{
		Policy: stylePolicy(htmlStyle), Style: template.CSS(htmlStyle), Version: version, Taken: r.Inventory.Time.UTC().Format("2006-01-02 15:04 MST"),
		Summary: r.Summary(), Since: r.Since, NotNow: ListParts(r.ReadNow), Folded: r.Folded, Gaps: r.Gaps,
	}
	p.findings(r)
	p.ways(r)
	p.coverage(r)
	return p
}

// stylePolicy is a policy by which a page may use one style, and nothing else.
func stylePolicy(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// findings groups findings by severity, the worst first, and counts them.
func (p *Page) findings(r *Result) {
	paths := r.Paths()
	for _, s := range slices.Backward(finding.Severities()) {
		g := htmlGroup{Severity: s}
		for n := range r.Found {
			if r.Found[n].Severity == s {
				g.Findings = append(g.Findings, htmlOf(r, n, paths[n]))
			}
		}
		p.Tiles = append(p.Tiles, htmlTile{s.String(), fmt.Sprint(len(g.Findings))})
		if len(g.Findings) > 0 {
			p.Groups = append(p.Groups, g)
		}
	}
	for _, k := range r.Gone {
		p.Gone = append(p.Gone, fmt.Sprintf("%s %s %s", k.Severity, k.Rule, k.Subject))
	}
}

func htmlOf(r *Result, n int, via []exposure.Step) htmlFinding {
	f := &r.Found[n]
	out := htmlFinding{Found: f, Where: Where(f), Score: f.Score.String(), State: r.State(n), Refs: slices.Clone(f.CIS)}
	for _, t := range f.Attack {
		out.Refs = append(out.Refs, strings.TrimSpace(string(t)+" "+t.Name()))
	}
	if w := r.Waived[n]; w != nil {
		out.Waived = Waived(w)
	}
	for i := range via {
		s := htmlStep{Text: fmt.Sprintf("%s: %s -> %s", via[i].Name(), via[i].From, via[i].To)}
		for _, g := range via[i].Grants {
			s.By = append(s.By, g.Text())
		}
		if via[i].Setting != "" {
			s.By = append(s.By, via[i].Setting)
		}
		if via[i].Unless != "" {
			s.By = append(s.By, "unless "+via[i].Unless)
		}
		out.Steps = append(out.Steps, s)
	}
	return out
}

// waysMax bounds the table of who can run commands where.
const waysMax = 2000

// ways lists who can get a command run where: of a cluster by actor, namespace and
// channel, of an engine by actor and channel; without what every new cluster has.
func (p *Page) ways(r *Result) {
	if r.analysis != nil {
		for _, both := range exposure.Changes(exposure.Diff(exposure.New(&inventory.Cluster{}), r.analysis)) {
			c := both.Of
			e := exposure.Exposure{Via: c.Via}
			if e.ByDefault() {
				continue
			}
			p.Ways = append(p.Ways, htmlWay{string(c.Actor), c.Where(), strings.Join(both.Channels, ", "), c.Scope, printable.Text(exposure.PathText(c.Via))})
		}
	}
	for n := range r.Inventory.Hosts {
		p.Ways = append(p.Ways, hostWays(&r.Inventory.Hosts[n])...)
	}
	if len(p.Ways) > waysMax {
		p.Ways, p.More = p.Ways[:waysMax], len(p.Ways)-waysMax
	}
}

// hostWays lists the ways into an engine's containers, those that are the same for
// several of them together.
func hostWays(h *inventory.Host) (out []htmlWay) {
	a, in := hostaccess.New(h), map[htmlWay][]string{}
	for n := range h.Running {
		for _, e := range a.WhoCanExec(&h.Running[n]) {
			w := htmlWay{Actor: string(e.Actor), Channel: string(e.Channel), Scope: e.Scope, By: printable.Text(exposure.PathText(e.Via))}
			if in[w] == nil {
				out = append(out, w)
			}
			in[w] = append(in[w], h.Running[n].Name)
		}
	}
	for n := range out {
		names := in[out[n]]
		if out[n].Where = "container " + wording.Some(names); len(names) == len(h.Running) && len(names) > 1 {
			out[n].Where = fmt.Sprintf("all %d containers", len(names))
		}
		out[n].Where += " of " + h.Name
	}
	return out
}

// coverage says what was not looked at, what was not decided, and what has passed.
func (p *Page) coverage(r *Result) {
	for _, s := range r.Inventory.Skipped {
		p.Skipped = append(p.Skipped, htmlLine{s.Origin.String(), s.Why})
	}
	for _, o := range r.Endings() {
		line := htmlLine{o.Rule.ID + " " + o.Rule.Title, cmp.Or(o.Why, o.Subject)}
		switch o.Result {
		case checks.Passed:
			p.Passed = append(p.Passed, line)
		case checks.Unknown:
			if o.Subject != checks.Everything {
				line.Name += ": " + o.Subject
			}
			p.Open = append(p.Open, line)
		case checks.Failed:
		}
	}
	p.Tiles = append(p.Tiles, htmlTile{"unknown", fmt.Sprint(len(p.Open))}, htmlTile{"passed", fmt.Sprint(len(p.Passed))})
}
