package audit

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"
)

// run follows the open log until ctx ends.
func (f *follower) run(ctx context.Context) error {
	tick := time.NewTicker(f.times.poll)
	defer tick.Stop()
	for {
		began := time.Now()
		if f.overwritten() {
			if err := f.replaced(ctx, "the audit log was cut, and nothing beside it has what was there"); err != nil {
				return err
			}
		}
		if err := f.drain(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if f.place.Offset != f.base+f.lines.consumed {
			f.mark(began)
		}
		f.report(began)
		if ctx.Err() != nil {
			f.mark(began)
			f.save(*f.place)
			return ctx.Err()
		}
		if f.renamed() {
			if err := f.rotate(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// overwritten reports that the file is shorter than what was read of it, or
// begins otherwise.
func (f *follower) overwritten() bool {
	info, err := f.log.file.Stat()
	read := f.base + f.lines.consumed + int64(len(f.lines.rest())) + f.lines.skipped
	switch {
	case err != nil:
		return false
	case info.Size() < read:
		return true
	case info.Size() == read || f.place.HeadLen == 0:
		return false
	}
	head, err := readHead(io.NewSectionReader(f.log.file, 0, headMax))
	return err == nil && !f.place.matches(head)
}

// renamed reports that another file has the log's name. One that is empty does
// not count: an API server that nobody told of the rotation goes on writing to
// the old one.
func (f *follower) renamed() bool {
	info, err := os.Stat(f.opts.Path)
	if err != nil || info.Size() == 0 {
		return false
	}
	old, err := f.log.file.Stat()
	return err == nil && !os.SameFile(info, old)
}

// rotate reads the rest of the old file and goes on with what came after it.
// The old one may be gone already: it has been read from its handle.
func (f *follower) rotate(ctx context.Context) error {
	if err := f.drain(ctx); err != nil {
		return err
	}
	f.mark(time.Now())
	f.stats.rotations.Add(1)
	_, err := f.catchUp(ctx)
	return err
}

// replaced goes on after the content of the file was replaced.
func (f *follower) replaced(ctx context.Context, reason string) error {
	f.stats.rotations.Add(1)
	since := f.place.Time
	missing, err := f.catchUp(ctx)
	if err == nil && !missing.IsZero() {
		f.s.gap(feedLog, since, missing, reason)
	}
	return err
}

// report tells progress and keeps bookmarks, now and then. At the end of the
// log everything older than a second is there: the API server writes an event
// when its stage is over.
func (f *follower) report(began time.Time) {
	if began.Sub(f.told) < f.times.progress {
		return
	}
	f.told = began
	f.mark(began)
	if len(f.lines.rest()) == 0 && !f.lines.skipping {
		f.s.atEnd(began)
	}
	f.trail = append(f.trail, *f.place)
	due := 0
	for due < len(f.trail) && began.Sub(f.trail[due].Time) >= f.times.lag {
		due++
	}
	if due > 0 {
		f.save(f.trail[due-1])
		f.trail = append(f.trail[:0], f.trail[due:]...)
	}
}

// idle is how old the bookmark of a log may be in which nothing happens.
const idle = 10 * time.Second

// save keeps a bookmark, if it says anything new.
func (f *follower) save(b bookmark) {
	same := b.Head == f.kept.Head && b.Offset == f.kept.Offset
	if same && b.Time.Sub(f.kept.Time) < idle {
		return
	}
	if err := b.save(f.opts.Bookmark); err != nil {
		f.Witness.opts.Logger.Warn("the audit log's bookmark cannot be kept", slog.Any("error", err))
		return
	}
	f.kept = b
}
