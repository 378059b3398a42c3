package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Observations returns the kept observations with from <= time < to, in the
// order in which they were stored. A zero time means no bound. Damage ends it
// with an error; everything before has been delivered.
func (r *Reader) Observations(ctx context.Context, from, to time.Time) iter.Seq2[event.Observation, error] {
	return r.observed(ctx, from, to, nil)
}

// Statements returns, in the order in which they were stored, the kept observations in
// which witnesses speak of themselves: their states, their losses, and which host it is.
// All others are passed over without being decoded.
func (r *Reader) Statements(ctx context.Context) iter.Seq2[event.Observation, error] {
	var kinds [][]byte
	for _, o := range []event.Observation{event.WitnessState{}, event.Loss{}, event.Host{}} {
		kinds = append(kinds, []byte(`{"`+event.Name(o)+`":`))
	}
	return r.observed(ctx, time.Time{}, time.Time{}, func(line []byte) bool {
		return slices.ContainsFunc(kinds, func(k []byte) bool { return bytes.HasPrefix(line, k) })
	})
}

// Oldest returns since when everything is kept, as far as can be told: the time of the
// earliest observation, or before it the end of a session that ended earlier. It is
// false when nothing is kept.
func (r *Reader) Oldest(ctx context.Context) (time.Time, bool, error) {
	var ns sql.NullInt64
	err := r.db.QueryRowContext(ctx, `SELECT min(t) FROM (SELECT min(earliest) AS t FROM chunk
		UNION ALL SELECT min(last) FROM session WHERE open = 0)`).Scan(&ns)
	return time.Unix(0, ns.Int64).UTC(), ns.Valid, explain(r.file, err)
}

// observed returns observations as Observations does, of those lines that are wanted;
// nil wants all.
func (r *Reader) observed(ctx context.Context, from, to time.Time, wanted func(line []byte) bool) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		low, high := int64(-1<<63), int64(1<<63-1)
		if !from.IsZero() {
			low = nanos(from)
		}
		if !to.IsZero() {
			high = nanos(to)
		}
		next, last, err := r.chunkRange(ctx, low, high)
		for err == nil && next <= last {
			var id int64
			var frame []byte
			err = r.db.QueryRowContext(ctx, `SELECT id, body FROM chunk WHERE id BETWEEN ? AND ? AND latest >= ? AND earliest <= ?
				ORDER BY id LIMIT 1`, next, last, low, high).Scan(&id, &frame)
			if err == nil && (id < next || id == math.MaxInt64) {
				err = r.disorder(fmt.Sprintf("observations %d", id))
			}
			if err != nil {
				break
			}
			next = id + 1
			for o, oerr := range r.observations(id, frame, wanted) {
				t := o.Head().Time
				if oerr == nil && (!from.IsZero() && t.Before(from) || !to.IsZero() && !t.Before(to)) {
					continue
				}
				if !yield(o, oerr) || oerr != nil {
					return
				}
			}
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			yield(nil, explain(r.file, err))
		}
	}
}

// chunkRange returns the ids of the first and last chunk that may hold
// observations between two times; from the index alone.
func (r *Reader) chunkRange(ctx context.Context, low, high int64) (first, last int64, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM chunk INDEXED BY chunk_time
		WHERE latest >= ? AND earliest <= ?`, low, high).Scan(&first, &last)
	return first, last, err
}

// observations returns the wanted observations of a chunk.
func (r *Reader) observations(id int64, frame []byte, wanted func(line []byte) bool) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		lines, err := r.unpack(frame, fmt.Sprintf("observations %d", id))
		if err != nil {
			yield(event.Tick{}, err)
			return
		}
		for line := range bytes.Lines(lines) {
			if wanted != nil && !wanted(line) {
				continue
			}
			o, err := event.Unmarshal(line)
			if err != nil {
				err = &DamagedError{File: r.file, Offset: -1, What: fmt.Sprintf("observations %d: %v", id, err)}
				yield(event.Tick{}, err)
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}
