package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// LogOptions names the log file of a kube-apiserver (--audit-log-path).
type LogOptions struct {
	Path string
	// Bookmark keeps how far the log has been read; nil keeps nothing, and every
	// start begins at the end of the log.
	Bookmark Keeper
	// FromStart reads a log without a bookmark from its beginning.
	FromStart bool
}

// follower reads one log file and its successors under the same name. It
// outlives failures: place is where it goes on.
type follower struct {
	*Witness
	opts  LogOptions
	s     *sink
	log   *logFile
	lines lines
	base  int64 // the offset at which lines began
	place *bookmark
	kept  bookmark // saved last
	trail []bookmark
	told  time.Time
}

func (w *Witness) follow(ctx context.Context, s *sink) error {
	w.follower.s = s
	defer w.follower.close()
	if err := w.follower.resume(ctx); err != nil {
		return err
	}
	return w.follower.run(ctx)
}

func (f *follower) close() {
	if f.log != nil {
		_ = f.log.file.Close()
		f.log = nil
	}
}

// resume reads what came while nobody looked and opens the log.
func (f *follower) resume(ctx context.Context) error {
	if f.place == nil {
		var err error
		if f.place, err = loadBookmark(f.opts.Bookmark); err != nil {
			f.Witness.opts.Logger.Warn("the audit log's bookmark is lost", slog.Any("error", err))
		}
	}
	if f.place == nil {
		return f.begin()
	}
	since := f.place.Time
	missing, err := f.catchUp(ctx)
	if err != nil {
		return err
	}
	if missing.IsZero() {
		f.s.up(feedLog, since, "")
	} else {
		f.s.gap(feedLog, since, missing, "the audit log no longer has what came after "+since.UTC().Format(time.RFC3339))
	}
	return nil
}

// begin opens a log that was never read. One that is not there yet will be read
// from its beginning.
func (f *follower) begin() error {
	now := time.Now()
	l, err := openLog(f.opts.Path)
	if errors.Is(err, fs.ErrNotExist) {
		f.place = &bookmark{Time: now}
	}
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	start := int64(0)
	if !f.opts.FromStart {
		if start, err = lastLineEnd(l.file); err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
	}
	l.last = true
	f.open(l, start)
	from := now
	if f.opts.FromStart {
		from = l.first
	}
	f.s.up(feedLog, from, "")
	return nil
}

// lastLineEnd returns the offset after the last line end, so that reading does
// not begin within an event; the end when there is none nearby.
func lastLineEnd(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, min(size, chunk))
	if _, err := f.ReadAt(buf, size-int64(len(buf))); err != nil && err != io.EOF {
		return 0, err
	}
	for i := len(buf) - 1; i >= 0; i-- {
		if buf[i] == '\n' {
			return size - int64(len(buf)-1-i), nil
		}
	}
	if size < chunk {
		return 0, nil
	}
	return size, nil
}

// open goes on with a file that is at offset.
func (f *follower) open(l *logFile, offset int64) {
	f.close()
	f.log, f.base, f.lines = l, offset, lines{buf: f.lines.buf[:0]}
	if l.plain == l.file {
		_, _ = l.file.Seek(offset, io.SeekStart)
	}
	f.mark(time.Now())
}

// mark notes the place that has been reached, at the time given.
func (f *follower) mark(at time.Time) {
	b := bookmark{Offset: f.base + f.lines.consumed, Time: at.UTC()}
	b.HeadLen = int(min(headMax, b.Offset))
	if len(f.log.head) < b.HeadLen { // it has grown since it was opened
		head, err := readHead(io.NewSectionReader(f.log.file, 0, headMax))
		if err == nil {
			f.log.head = head
		}
	}
	b.HeadLen = min(b.HeadLen, len(f.log.head))
	if b.HeadLen == headMax && f.log.named != "" {
		b.Head = f.log.named
	} else {
		b.Head = digest(f.log.head[:b.HeadLen])
	}
	if b.HeadLen == headMax {
		f.log.named = b.Head
	}
	f.place = &b
}

// catchUp reads the files that hold what came after the place, and leaves the
// log itself open. It returns from when on nothing is missing, zero when
// nothing is at all.
func (f *follower) catchUp(ctx context.Context) (missing time.Time, err error) {
	files, found, err := pending(f.opts.Path, f.place)
	if err != nil {
		return missing, fmt.Errorf("open audit log: %w", err)
	}
	offset := int64(0)
	if found && f.place.matches(files[0].head) {
		offset = f.place.Offset
	}
	if !found {
		missing = files[0].first
	}
	for i, l := range files {
		f.open(l, offset)
		offset = 0
		if l.last {
			return missing, nil
		}
		if err := f.finish(ctx); err != nil {
			drop(files[i+1:], len(files)-i-1)
			return missing, err
		}
	}
	return missing, nil
}

// finish reads a file that is no longer written to.
func (f *follower) finish(ctx context.Context) error {
	if err := f.drain(ctx); err != nil {
		return err
	}
	if rest := f.lines.rest(); len(rest) > 0 {
		f.s.bad(feedLog, rest, errMalformed)
	}
	return nil
}

// drain reads to the end of what is there.
func (f *follower) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := f.lines.fill(f.log.plain)
		f.stats.bytes.Add(uint64(n))
		for {
			line := f.lines.next(f.oversized)
			if line == nil {
				break
			}
			if len(line) > 0 {
				f.s.line(feedLog, line)
			}
		}
		switch {
		case err == io.EOF, err == nil && n == 0:
			return nil
		case err != nil:
			return fmt.Errorf("read audit log: %w", err)
		}
	}
	return ctx.Err()
}

func (f *follower) oversized(head []byte) {
	f.stats.events.Add(1)
	if !passOver(head) {
		f.stats.oversized.Add(1)
		f.s.faults.note(feedLog, head, errOversized)
	}
}
