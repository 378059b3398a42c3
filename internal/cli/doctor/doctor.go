// Package doctor is sallyport doctor: what this host can see, what is missing and how to
// fix it, found out by trying.
package doctor

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// grade is how a check came out.
type grade string

const (
	gradeOK       grade = "ok"
	gradeNote     grade = "note"     // worth knowing; nothing is missed for it
	gradeDegraded grade = "degraded" // something is not seen
	gradeMissing  grade = "missing"  // a whole witness does not work
)

// diagnosis is the result of one check.
type diagnosis struct {
	Check  string `json:"check"`
	Grade  grade  `json:"status"`
	Found  string `json:"found"`
	Effect string `json:"effect,omitempty"` // what that means for what is seen
	// Remedy lists what to do, a command wherever there is one.
	Remedy []string `json:"remedy,omitempty"`
	// gives is what the host has, seen from this check.
	gives []attack.Need
	// late says that the check did not come to an end.
	late bool
}

// checkup is everything that doctor found out.
type checkup struct {
	diagnoses []diagnosis
	have      []attack.Need
}

// checkMax bounds each check. One that hangs is reported as such and left
// behind: the program ends soon after.
const checkMax = 5 * time.Second

// examine runs all checks, one after the other.
func (x *exam) examine(ctx context.Context) checkup {
	var up checkup
	for _, c := range x.checks() {
		for _, d := range bounded(ctx, c, checkMax) {
			up.diagnoses = append(up.diagnoses, d)
			for _, n := range d.gives {
				if !slices.Contains(up.have, n) {
					up.have = append(up.have, n)
				}
			}
		}
	}
	return up
}

// bounded runs one check for at most limit.
func bounded(ctx context.Context, c check, limit time.Duration) []diagnosis {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan []diagnosis, 1)
	go func() { done <- c.run(ctx) }()
	select {
	case d := <-done:
		return d
	case <-ctx.Done():
		return []diagnosis{{
			Check: c.name, Grade: gradeDegraded, Found: "no answer within " + limit.String(),
			Effect: "what depends on it may hang too",
			Remedy: []string{"look at what it asks: journalctl -u docker -u containerd --since -10min"},
			late:   true,
		}}
	}
}

// host is what a checkup says of the host. What a user without privileges did not
// find, and what did not answer in time, may be there nevertheless.
func (x *exam) host(up checkup) attack.Host {
	h := attack.Host{Have: up.have}
	late := slices.ContainsFunc(up.diagnoses, func(d diagnosis) bool { return d.late })
	if late || x.goos == "linux" && x.uid != 0 {
		h.Unclear = slices.DeleteFunc(attack.Needs(), func(n attack.Need) bool { return slices.Contains(up.have, n) })
	}
	return h
}

// Host says what this host has, as the checks find it.
func Host(ctx context.Context, env *terminal.Env, conf config.Config) attack.Host {
	x := newExam(env, conf)
	return x.host(x.examine(ctx))
}

// exit returns the exit status: 0 everything is seen, 1 something is not,
// 2 nothing is.
func (c checkup) exit() int {
	alone := []attack.Need{attack.NeedDocker, attack.NeedKernel, attack.NeedContainerd, attack.NeedAudit, attack.NeedAdmission}
	if !slices.ContainsFunc(c.have, func(n attack.Need) bool { return slices.Contains(alone, n) }) {
		return exit.Usage
	}
	for _, d := range c.diagnoses {
		if d.Grade == gradeDegraded || d.Grade == gradeMissing {
			return exit.Findings
		}
	}
	return exit.Fine
}

func (c checkup) verdict() string {
	switch c.exit() {
	case exit.Fine:
		return "full: Sallyport sees all that it can see"
	case exit.Findings:
		return "degraded: Sallyport works and misses what is marked below"
	}
	return "nothing: Sallyport would see nothing here"
}

// New returns sallyport doctor.
func New(env *terminal.Env) *cobra.Command {
	var asJSON bool
	var file string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can see, what is missing and how to fix it",
		Long: `Doctor asks the kernel, Docker, containerd and, where they are configured, the
API server and the collector what they let Sallyport see here, by trying it. It
takes the flags and the configuration file of sallyport up and says what would
come of them; where sallyport up runs on the state directory, also how that does.
It changes nothing.

Exit status:
  0  full: all that Sallyport can see
  1  degraded: Sallyport works, something is not seen
  2  nothing: neither Docker, containerd, the kernel nor Kubernetes' audit can be watched`,
		Args: cobra.NoArgs,
		Example: `  sallyport doctor
  sudo sallyport doctor --json
  sudo sallyport doctor --config /etc/sallyport.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(env, file, cmd.Flags())
			if err != nil {
				return err
			}
			up := newExam(env, conf).examine(cmd.Context())
			show := up.table
			if asJSON {
				show = up.lines
			}
			if err := show(env.Stdout, env.Palette()); err != nil {
				return err
			}
			if code := up.exit(); code != exit.Fine {
				return exit.Status(code)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per check, and the verdict last")
	cmd.Flags().StringVar(&file, "config", "", "read the configuration from `FILE`")
	cmd.Flags().String("state", "", "state directory `DIR` (default "+statedir.Default(env)+")")
	config.WatchFlags(cmd.Flags())
	config.RoleFlags(cmd.Flags())
	return cmd
}

// lines prints the checks as JSON, one object a line, and the verdict last.
func (c checkup) lines(w io.Writer, _ terminal.Palette) error {
	if err := terminal.WriteLines(w, c.diagnoses); err != nil {
		return err
	}
	return terminal.WriteJSON(w, struct {
		Check string        `json:"check"`
		Grade grade         `json:"status"`
		Found string        `json:"found"`
		Exit  int           `json:"exit"`
		Have  []attack.Need `json:"have,omitempty"`
	}{"verdict", []grade{gradeOK, gradeDegraded, gradeMissing}[c.exit()], c.verdict(), c.exit(), c.have})
}

// table prints the checks for a person.
func (c checkup) table(w io.Writer, p terminal.Palette) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", c.verdict())
	width := 0
	for _, d := range c.diagnoses {
		width = max(width, len(d.Check))
	}
	for _, d := range c.diagnoses {
		label := fmt.Sprintf("%-*s", gradeWidth, d.Grade)
		fmt.Fprintf(&b, "%s  %-*s  %s\n", p.Paint(d.Grade.style(), label), width, d.Check, printable.Text(d.Found))
		indent := strings.Repeat(" ", gradeWidth+2+width+2)
		if d.Effect != "" {
			fmt.Fprintf(&b, "%s%s\n", indent, printable.Text(d.Effect))
		}
		for _, r := range d.Remedy {
			fmt.Fprintf(&b, "%sfix: %s\n", indent, printable.Text(r))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const gradeWidth = len(gradeDegraded)

func (g grade) style() terminal.Style {
	switch g {
	case gradeOK:
		return terminal.Good
	case gradeNote:
		return terminal.Dim
	case gradeDegraded:
		return terminal.Warn
	case gradeMissing:
		return terminal.Bad
	}
	return terminal.Plain
}
