package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/export/queue"
)

// laterMax bounds how long a receiver may have itself left alone.
const laterMax = 10 * time.Minute

// sender empties a queue.
type sender struct {
	*Exporter
	queue *queue.Queue
	dead  deadLetters
	pause backoff
}

// run sends until ctx ends, and then what is there until sending ends or it
// fails.
func (s *sender) run(ctx, sending context.Context) {
	s.pause = backoff{min: s.opt.RetryMin, max: s.opt.RetryMax}
	for {
		b, err := s.queue.Next(s.opt.BatchRecords, s.opt.BatchBytes)
		if err == nil && len(b.Entries) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-s.queue.Fresh():
				continue
			case <-time.After(s.opt.Poll): // after damage nothing is fresh
				continue
			}
		}
		if err == nil {
			err = s.batch(sending, b)
		}
		if err == nil {
			s.pause.reset()
			s.stats.recovered(s.opt.Logger)
			continue
		}
		wait := s.pause.pause()
		var later *Later
		if errors.As(err, &later) {
			wait = min(max(wait, later.After), laterMax)
		}
		s.stats.failed(s.opt.Logger, err, wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// batch sends a batch and acknowledges it.
func (s *sender) batch(ctx context.Context, b queue.Batch) error {
	records := make([]Record, 0, len(b.Entries))
	for _, e := range b.Entries {
		var r Record
		if err := json.Unmarshal(e.Body, &r); err != nil {
			// Not of this version, or not what was written: no use to keep it waiting.
			if err := s.bury(fmt.Sprintf("not readable: %v", err), 1, e.Body); err != nil {
				return err
			}
			continue
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		if err := s.send(ctx, records); err != nil {
			return err
		}
	}
	return s.queue.Acknowledge(b)
}

// send sends records, and those that are refused to the dead letters: halves of
// a batch are tried until the ones that it is about are alone.
func (s *sender) send(ctx context.Context, records []Record) error {
	err := s.opt.Destination.Send(ctx, records)
	var refused *Refused
	switch {
	case err == nil:
		s.stats.sent(len(records))
		return nil
	case !errors.As(err, &refused):
		return err
	case len(records) > 1 && !refused.Final:
		half := len(records) / 2
		if err := s.send(ctx, records[:half]); err != nil {
			return err
		}
		return s.send(ctx, records[half:])
	}
	bodies := make([][]byte, len(records))
	for i, r := range records {
		if bodies[i], err = json.Marshal(r); err != nil {
			return err
		}
	}
	return s.bury(refused.Reason, len(records), bodies...)
}

// bury writes to the dead letters. A disk that fails is waited for; a full file
// is said to drop.
func (s *sender) bury(reason string, n int, bodies ...[]byte) error {
	err := s.dead.add(reason, bodies...)
	if err != nil && !errors.Is(err, errDeadFull) {
		return fmt.Errorf("write dead letter: %w", err)
	}
	s.stats.died(s.opt.Logger, n, reason, err)
	return nil
}
