package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// audits measures the intake of audit events: through parse, filter,
// correlation and store; beside it, in the same run, encoding/json into the
// audit type, and plain reading of lines as the limit.
func (b *bench) audits(ctx context.Context) ([]row, error) {
	var rows []row
	for _, mix := range []struct {
		name   string
		share  float64
		events int
		target float64
	}{
		{"1 % relevant", 0.01, 400_000, 300_000},
		{"all relevant", 1, 20_000, 60_000},
	} {
		n := mix.events / b.scale
		log, _ := audittest.Mix{Seed: 1, Events: n, Relevant: mix.share}.Lines()
		ours, note, err := b.intake(ctx, log)
		if err != nil {
			return rows, err
		}
		parsed, err := perSecond(log, func(line []byte) error {
			_, err := audit.Parse(line, &event.KubeRequest{})
			return err
		})
		if err != nil {
			return rows, err
		}
		plain, err := perSecond(log, func(line []byte) error { return json.Unmarshal(line, &audittest.Event{}) })
		if err != nil {
			return rows, err
		}
		lines, _ := perSecond(log, func([]byte) error { return nil })
		each := fmt.Sprintf("; parse alone %.0f, lines alone %.0f; %.0f MB/s", parsed, lines, ours*float64(len(log))/float64(n)/1e6)
		ratio := ours / plain
		rows = append(rows, row{
			Name: "audit events per CPU second, " + mix.name, Value: ours, Unit: "1/s", Baseline: &plain, Ratio: &ratio, Spread: new(float64),
			Target: fmt.Sprintf(">= %.0f", mix.target), OK: ours >= mix.target, Note: note + each,
		})
	}
	return rows, nil
}

// perSecond returns how many lines each takes per second of CPU time.
func perSecond(log []byte, each func([]byte) error) (float64, error) {
	n, began := 0, cputime.Total()
	for r := bufio.NewReaderSize(bytes.NewReader(log), 1<<20); ; n++ {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return float64(n) / (cputime.Total() - began).Seconds(), nil
		}
		if err == nil {
			err = each(line)
		}
		if err != nil {
			return 0, fmt.Errorf("audit event %d: %w", n, err)
		}
	}
}

// intake takes a log all the way to the store.
func (b *bench) intake(ctx context.Context, log []byte) (perSec float64, note string, err error) {
	st, err := store.Open(filepath.Join(b.engine.Dir, fmt.Sprintf("audit-%d", time.Now().UnixNano())), store.Options{})
	if err != nil {
		return 0, "", err
	}
	defer st.Close()
	e := correlate.NewFleet(correlate.Options{})
	e.Observe(event.WitnessState{Header: event.Header{Time: time.Unix(0, 0), Witness: event.WitnessAudit}, Up: true})
	var batch store.Batch
	sessions := 0
	flush := func() error {
		_, err := st.Append(ctx, batch)
		sessions += len(batch.Revisions)
		batch.Observations, batch.Revisions = batch.Observations[:0], batch.Revisions[:0]
		return err
	}
	take := func(o event.Observation) error {
		var revisions []session.Revision = e.Observe(o)
		batch.Observations, batch.Revisions = append(batch.Observations, o), append(batch.Revisions, revisions...)
		if len(batch.Observations) < 2048 {
			return nil
		}
		return flush()
	}
	n, began := 0, cputime.Total()
	_, err = perSecond(log, func(line []byte) error {
		n++
		var o event.KubeRequest
		relevant, err := audit.Parse(line, &o)
		if err != nil || !relevant {
			return err
		}
		o.Witness = event.WitnessAudit
		return take(o)
	})
	batch.Revisions = append(batch.Revisions, e.Flush()...) // what still waited is counted, too
	err = errors.Join(err, flush())
	return float64(n) / (cputime.Total() - began).Seconds(), fmt.Sprintf("%d revisions stored", sessions), err
}
