package scan

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/lib/atmost"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// readWaivers reads a file of waivers; none when it has no name.
func readWaivers(file string, now time.Time) ([]waiver.Waiver, error) {
	if file == "" {
		return nil, nil
	}
	data, err := atmost.ReadFile(file, waiver.MaxSize+1)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--waivers: %w", err)
	}
	var ids []string
	for _, r := range checks.Rules() {
		ids = append(ids, r.ID)
	}
	list, err := waiver.Parse(file, data, ids, now)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "docs/guide/scan-reports.md has the form of waivers", "waivers cannot be used:\n%s", eachError(err))
	}
	return list, nil
}

// eachError writes joined errors one to a line.
func eachError(err error) string {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	lines := make([]string, len(list))
	for n, e := range list {
		lines[n] = printable.Text(e.Error())
	}
	return strings.Join(lines, "\n")
}

// readBaseline reads a report in JSON, or a snapshot, of which one is made; nil when it
// has no name.
func readBaseline(ctx context.Context, env *terminal.Env, file string, s *sources) (*baseline.Baseline, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--baseline: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if beginning, _ := in.Peek(4); !scan.Is(beginning) {
		b, err := baseline.Parse(file, in)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "sallyport scan --format json > FILE, or a snapshot of sallyport scan collect", "--baseline: %w", err)
		}
		return b, nil
	}
	quiet, one := *env, *s // what a snapshot does not hold was said when it was made
	quiet.Stderr, one.from, one.images = io.Discard, []string{file}, nil
	i, err := gather(ctx, &quiet, &one)
	if err != nil {
		return nil, err
	}
	report := checks.Run(i, analyse(i))
	return baseline.Of(&report), nil
}
