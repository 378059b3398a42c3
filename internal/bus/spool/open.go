package spool

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/lib/filelock"
)

// ErrLocked says that another process has the spool open.
var ErrLocked = errors.New("another process uses it")

// Open opens the spool in a directory, or makes one. It cuts off what a kill
// left half written.
func Open(opt Options) (*Spool, error) {
	opt = opt.withDefaults()
	s := &Spool{
		opt: opt, full: make(chan struct{}, 1), room: make(chan struct{}, 1), fresh: make(chan struct{}),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	err := s.open()
	if err != nil {
		if s.lock != nil {
			_ = s.lock.Close()
		}
		return nil, fmt.Errorf("open spool %s: %w", opt.Dir, err)
	}
	go s.run()
	return s, nil
}

func (s *Spool) open() (err error) {
	if err := os.MkdirAll(s.opt.Dir, 0o700); err != nil {
		return err
	}
	if s.lock, err = os.OpenFile(filepath.Join(s.opt.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if ok, err := filelock.Try(s.lock); err != nil || !ok {
		return cmp.Or(err, ErrLocked)
	}
	if s.packer, err = bus.NewPacker(); err != nil {
		return err
	}
	if s.reader.unpack, err = bus.NewUnpacker(); err != nil {
		return err
	}
	if err := s.loadCursor(); err != nil {
		return err
	}
	if err := s.loadSegments(); err != nil {
		return err
	}
	s.next = s.kept() + 1
	return nil
}

func (s *Spool) loadCursor() error {
	name := filepath.Join(s.opt.Dir, cursorName)
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &s.cursor)
		if err == nil && s.cursor.Version > cursorVersion {
			return fmt.Errorf("%s: version %d, this sallyport reads up to %d", cursorName, s.cursor.Version, cursorVersion)
		}
	}
	if err == nil && s.cursor.ID != "" {
		s.id = s.cursor.ID
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		// Without its name the numbers of this spool mean nothing; with a new
		// name what it holds is sent again, which is only double work.
		s.opt.Logger.Warn("the spool's cursor cannot be read and is made anew", slog.Any("error", err))
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	s.id = hex.EncodeToString(id[:])
	s.cursor = cursor{Version: cursorVersion, ID: s.id}
	return s.cursor.save(s.opt.Dir)
}

// loadSegments lists the segments and cuts a torn end off the last one.
func (s *Spool) loadSegments() error {
	entries, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") {
			_ = os.Remove(filepath.Join(s.opt.Dir, e.Name()))
		}
		if g, ok := parseName(e.Name()); ok {
			s.segments = append(s.segments, g)
		}
	}
	slices.SortFunc(s.segments, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.first, b.first), compareBool(a.stated, b.stated))
	})
	if s.segments, err = s.replaced(s.segments); err != nil {
		return err
	}
	for i := range s.segments {
		if err := s.measure(i); err != nil {
			return err
		}
	}
	s.segments = slices.DeleteFunc(s.segments, func(g segment) bool { return g.size == 0 || g.last < g.first })
	return nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// replaced removes segments that a statement of loss already stands for: the
// kill came between its writing and their removal.
func (s *Spool) replaced(list []segment) ([]segment, error) {
	var out []segment
	var through uint64
	for _, g := range list {
		if g.first <= through {
			if err := os.Remove(s.path(g)); err != nil {
				return nil, err
			}
			continue
		}
		if g.stated {
			_, _ = readAll(s.path(g), func(b bus.Batch) { through = b.Last })
		}
		out = append(out, g)
	}
	return out, nil
}

// measure fills in the size and the last number of a segment. Of all but the
// last, only what is behind the last whole frame can be damaged.
func (s *Spool) measure(i int) error {
	g := &s.segments[i]
	info, err := os.Stat(s.path(*g))
	if err != nil {
		return err
	}
	whole, err := readAll(s.path(*g), func(b bus.Batch) { g.last = b.Last })
	if err != nil && !errors.Is(err, errTorn) {
		return err
	}
	g.size = info.Size()
	if i < len(s.segments)-1 {
		// Whatever it held up to the next one is stated when it is read.
		g.last = max(g.last, s.segments[i+1].first-1)
		return nil
	}
	if torn := g.size - whole; torn > 0 {
		s.stats.Torn += torn
		s.opt.Logger.Warn("the end of the spool was half written and is cut off", slog.Int64("bytes", torn))
		if err := os.Truncate(s.path(*g), whole); err != nil {
			return err
		}
		g.size = whole
	}
	if whole == 0 {
		return os.Remove(s.path(*g))
	}
	s.newestOf(*g)
	return nil
}

// newestOf brings the cursor's time up to the last batch: it may lag behind.
func (s *Spool) newestOf(g segment) {
	var last bus.Batch
	_, _ = readAll(s.path(g), func(b bus.Batch) { last = b })
	if last.Count == 0 {
		return
	}
	for o, err := range s.reader.unpack.All(last) {
		if err == nil && o.Head().Time.After(s.cursor.Newest) {
			s.cursor.Newest = o.Head().Time
		}
	}
}

// release gives back what Open took.
func (s *Spool) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.cursor.save(s.opt.Dir)
	s.reader.close()
	s.reader.unpack.Close()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	err = errors.Join(err, s.lock.Close())
	if s.count > 0 {
		err = errors.Join(err, fmt.Errorf("%d observations could not be written: %w", s.count, cmp.Or(s.stats.Err, os.ErrClosed)))
	}
	return err
}
