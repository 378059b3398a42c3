package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Writers, readers, retention and verification at the same time: everything
// that was acknowledged is there, and every proof made meanwhile holds.
func TestConcurrentUse(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 3, 40
	var writing, reading errgroup.Group
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() error {
			for n := range each {
				v := sess(w*1000 + n)
				_, err := s.Append(context.Background(), Batch{
					Observations: noise(20, n),
					Revisions:    []session.Revision{{Session: v}, {Session: sess(w*1000+n, ended)}},
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	repeat := func(f func() error) {
		reading.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				default:
				}
				if err := f(); err != nil {
					return err
				}
			}
		})
	}
	repeat(func() error {
		for _, err := range other.Sessions(context.Background(), Query{}) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	repeat(func() error {
		rep, err := other.Verify(context.Background(), VerifyOptions{})
		if err == nil && rep.Damage != nil {
			err = errors.New(rep.Damage.String())
		}
		return err
	})
	repeat(func() error {
		_, err := s.Prune(context.Background(), Retention{Bytes: 1 << 16}) // observations go, sessions too
		return err
	})
	if err := writing.Wait(); err != nil {
		t.Error(err)
	}
	close(done)
	if err := reading.Wait(); err != nil {
		t.Error(err)
	}
	rep, err := other.Verify(context.Background(), VerifyOptions{})
	if err != nil || rep.Damage != nil || rep.Revisions+rep.Pruned != 2*writers*each {
		t.Errorf("report %+v, %v: want %d revisions, with the pruned ones", rep, err, 2*writers*each)
	}
	if err := errors.Join(other.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestPruneGivesSpaceBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 500 {
		if _, err := s.Append(context.Background(), Batch{Observations: noise(50, n)}); err != nil {
			t.Fatal(err)
		}
		add(t, s, big(n))
	}
	p, err := s.Prune(context.Background(), Retention{Bytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if p.Observations != 500*50 || p.Sessions == 0 {
		t.Errorf("pruned %+v", p)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, databaseName))
	if err != nil || info.Size() != p.Bytes || p.Bytes > 256<<10 {
		t.Errorf("the file has %d bytes, Prune said %d: %v", info.Size(), p.Bytes, err)
	}
}

// Rounds of age-based retention over a long life keep the file bounded but for
// the hashes.
func TestLongLife(t *testing.T) {
	now := epoch
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sizes []int64
	for day := range 10 {
		for n := range 40 {
			b := Batch{Observations: noise(20, day*40+n)}
			for i := range 10 {
				b.Revisions = append(b.Revisions, session.Revision{Session: sess((day*40+n)*10+i, ended)})
			}
			if _, err := s.Append(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		now = sess((day + 1) * 400).Started
		p, err := s.Prune(context.Background(), Retention{Age: 400 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, p.Bytes)
	}
	if grown := sizes[9] - sizes[4]; grown > 5*400*250 { // hashes and checkpoints
		t.Errorf("sizes %v: grew by %d bytes in five days", sizes, grown)
	}
	rep, err := s.Verify(context.Background(), VerifyOptions{})
	if err != nil || rep.Damage != nil {
		t.Error(rep.Damage, err)
	}
	t.Logf("sizes %v, %+v", sizes, rep)
}
