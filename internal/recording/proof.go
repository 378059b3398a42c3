package recording

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/durable"
)

// measured is what hashing a file comes to.
type measured struct {
	id    string
	whole int64 // bytes of whole blocks, with the header
	chain chain // over them
	tail  int64 // bytes that follow
	ended bool  // the last block is marked as the end
	// at is the chain at the place that was asked for; nil when no block ends
	// there.
	at *chain
}

// measure hashes a file. It needs no key.
func measure(f io.Reader, at int64) (m measured, err error) {
	in := bufio.NewReaderSize(f, 64<<10)
	head, err := readHead(in)
	if err != nil {
		return m, err
	}
	h, err := parseHeader(head)
	if err != nil {
		return m, err
	}
	m.id, m.whole = h.ID, int64(len(head))
	d := newDesk()
	m.chain.add(d.digest, head)
	count := &counting{from: in}
	for {
		if m.whole == at {
			c := m.chain
			m.at = &c
		}
		before := count.n
		k, b, err := readBlock(count, d.out)
		if err != nil || m.ended {
			m.tail = count.n - before
			break
		}
		m.whole += int64(len(b))
		m.chain.add(d.digest, b)
		m.ended = k.flags&flagEnd != 0
	}
	rest, err := io.Copy(io.Discard, in)
	m.tail += rest
	return m, err
}

type counting struct {
	from io.Reader
	n    int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// Check holds the file of a recording against what the ledger says of it. It
// returns what does not fit, "" when everything does; an error means that it
// could not do its work. A recording that runs may go on beyond the statement.
func Check(dir string, s session.Recording) (string, error) {
	f, err := find(dir, s.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return "its file is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("recording %s: %w", s.ID, err)
	}
	defer f.Close()
	m, err := measure(f, s.Size)
	var path *fs.PathError
	if errors.As(err, &path) {
		return "", fmt.Errorf("recording %s: %w", s.ID, err)
	}
	if err != nil {
		return "its file was changed: " + err.Error(), nil
	}
	return m.against(s), nil
}

func (m *measured) against(s session.Recording) string {
	switch {
	case m.id != s.ID:
		return "its file is that of recording " + m.id
	case m.whole < s.Size:
		return fmt.Sprintf("its file was changed or cut: it is whole up to byte %d, the ledger proves %d", m.whole, s.Size)
	case m.at == nil || m.at.String() != s.Hash:
		return fmt.Sprintf("its file was changed within the first %d bytes", s.Size)
	case s.State.Final() && (m.whole != s.Size || m.tail != s.Tail):
		return fmt.Sprintf("its file was changed: it goes on after byte %d, where it had ended", s.Size)
	}
	return ""
}

// recover brings files and ledger together after a kill.
func (r *Recordings) recover(ctx context.Context) error {
	known := map[string]session.Recording{}
	if r.opt.Ledger != nil {
		list, err := r.opt.Ledger.Statements(ctx)
		if err != nil {
			return err
		}
		for _, s := range list {
			known[s.ID] = s
		}
	}
	entries, err := os.ReadDir(r.opt.Dir)
	if err != nil {
		return err
	}
	var sealed []session.Recording
	for _, e := range entries {
		id, end, _ := strings.Cut(e.Name(), ".")
		if !validID(id) {
			continue
		}
		s, ok := known[id]
		delete(known, id)
		if err := r.settle(id, "."+end, ok); err != nil {
			return err
		}
		if !ok || s.State.Final() {
			continue
		}
		if s, ok := r.sealed(s); ok {
			sealed = append(sealed, s)
		}
	}
	for id := range known {
		r.opt.Logger.Error("a recording's file is missing", "recording", id)
	}
	return errors.Join(durable.SyncDir(r.opt.Dir), r.state(ctx, sealed...))
}

// settle finishes what was under way with a file when its writer was killed: it
// gets its lasting name when the ledger knows it, or goes.
func (r *Recordings) settle(id, end string, known bool) error {
	switch end {
	case suffixNew, suffixGone:
		if known || r.opt.Ledger == nil && end == suffixNew {
			return os.Rename(r.path(id, end), r.path(id, suffix))
		}
		return os.Remove(r.path(id, end))
	case suffix:
		if !known && r.opt.Ledger != nil {
			r.opt.Logger.Warn("a recording that the ledger does not know", "file", r.path(id, end))
		}
	}
	return nil
}

// sealed returns the last statement about a recording whose writer was killed;
// false when its file is not what the ledger knows already, which only a person
// may put right.
func (r *Recordings) sealed(s session.Recording) (session.Recording, bool) {
	var m measured
	f, err := find(r.opt.Dir, s.ID)
	if err == nil {
		defer f.Close()
		m, err = measure(f, s.Size)
	}
	if err == nil && m.against(s) != "" {
		err = errors.New(m.against(s))
	}
	if err != nil {
		r.opt.Logger.Error("a recording is not what was recorded", "recording", s.ID, "error", err)
		return s, false
	}
	s.State, s.Time, s.Size, s.Hash, s.Tail = session.RecordingTorn, time.Now().UTC(), m.whole, m.chain.String(), m.tail
	if m.ended && m.tail == 0 {
		s.State = session.RecordingEnded
	}
	return s, true
}
