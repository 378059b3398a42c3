package scan

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/terminal"
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

// htmlPage is what the template is about.
type htmlPage struct {
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

// reportHTML writes a report as one page of HTML.
func reportHTML(env *terminal.Env, r *result) error {
	working := env.Progress("Laying out the page")
	p := pageOf(r)
	working.Done()
	return htmlReport.Execute(env.Stdout, p)
}

func pageOf(r *result) *htmlPage {
	p := &htmlPage{
		Policy: stylePolicy(htmlStyle), Style: template.CSS(htmlStyle), Version: build.This().Version, Taken: r.inventory.Time.UTC().Format("2006-01-02 15:04 MST"),
		Summary: r.summary(), Since: r.since, NotNow: listParts(r.readNow), Folded: r.Folded, Gaps: r.Gaps,
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
func (p *htmlPage) findings(r *result) {
	paths := r.paths()
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
	for _, k := range r.gone {
		p.Gone = append(p.Gone, fmt.Sprintf("%s %s %s", k.Severity, k.Rule, k.Subject))
	}
}

func htmlOf(r *result, n int, via []exposure.Step) htmlFinding {
	f := &r.Found[n]
	out := htmlFinding{Found: f, Where: whereOf(f), Score: f.Score.String(), State: r.state(n), Refs: slices.Clone(f.CIS)}
	for _, t := range f.Attack {
		out.Refs = append(out.Refs, strings.TrimSpace(string(t)+" "+t.Name()))
	}
	if w := r.waived[n]; w != nil {
		out.Waived = waivedText(w)
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
func (p *htmlPage) ways(r *result) {
	if r.analysis != nil {
		for _, c := range exposure.Diff(exposure.New(&inventory.Cluster{}), r.analysis) {
			e := exposure.Exposure{Via: c.Via}
			if e.ByDefault() {
				continue
			}
			p.Ways = append(p.Ways, htmlWay{string(c.Actor), c.Where(), c.How(), c.Scope, printable.Text(exposure.PathText(c.Via))})
		}
	}
	for n := range r.inventory.Hosts {
		p.Ways = append(p.Ways, hostWays(&r.inventory.Hosts[n])...)
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
func (p *htmlPage) coverage(r *result) {
	for _, s := range r.inventory.Skipped {
		p.Skipped = append(p.Skipped, htmlLine{s.Origin.String(), s.Why})
	}
	for _, o := range r.outcomes() {
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
