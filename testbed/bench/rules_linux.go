package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/ruletest"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/rules"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// pack measures what the shipped rules make of a session: of each that the
// stories of corpus/ come to, asked of all rules in turn.
func (b *bench) pack(context.Context) ([]row, error) {
	set, err := shippedRules()
	if err != nil {
		return nil, err
	}
	sessions, err := storySessions("corpus")
	if err != nil {
		return nil, err
	}
	mean, p99 := perSession(sessions, 2000/b.scale, func(s *session.Session) { set.Review(s) })
	r := atMost(fmt.Sprintf("shipped rules (%d), CPU per session", len(set.Rules())), mean, "us", 50)
	r.Note = fmt.Sprintf("%d sessions of corpus/; the dearest hundredth %.1f us and more", len(sessions), p99)
	found, p99 := perSession(sessions, 1000/b.scale, func(s *session.Session) { policy.NewEngine(set).Observe(*s) })
	f := row{Name: "shipped rules, CPU per session, with its findings", Value: found, Unit: "us", OK: true}
	f.Note = fmt.Sprintf("a new engine for each; the dearest hundredth %.1f us and more", p99)
	return []row{r, f}, nil
}

// perSession returns microseconds of CPU time: the mean, and what all but a
// hundredth of the sessions stay below.
func perSession(sessions []session.Session, times int, do func(*session.Session)) (mean, p99 float64) {
	each := make([]float64, len(sessions))
	for i := range sessions {
		do(&sessions[i])
		began := cputime.Total()
		for range max(times, 1) {
			do(&sessions[i])
		}
		each[i] = float64((cputime.Total()-began)/time.Duration(max(times, 1))) / float64(time.Microsecond)
		mean += each[i] / float64(len(sessions))
	}
	return mean, quantile(each, 0.99)
}

func shippedRules() (*policy.Set, error) {
	var files []policy.File
	err := rules.Each(func(name string, data []byte) error {
		if !strings.HasSuffix(name, ruletest.Suffix) {
			files = append(files, policy.File{Name: name, Data: data})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return policy.Load(files)
}

// storySessions plays the stories of a directory.
func storySessions(dir string) ([]session.Session, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no stories in %s: run it in the root of the repository", dir)
	}
	slices.Sort(files)
	var out []session.Session
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		input := func(yield func(event.Observation, error) bool) {
			for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
				if !yield(event.Unmarshal(bytes.TrimSpace(line))) {
					return
				}
			}
		}
		played, err := replay.Play(input, correlate.Options{}, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, played.Sessions...)
	}
	return out, nil
}
