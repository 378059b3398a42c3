package recording

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/lib/durable"
)

// Retention says what to keep. A zero field keeps everything.
type Retention struct {
	Age   time.Duration // since a recording was written to last
	Bytes int64         // of all recordings; the oldest go first
}

// Pruned counts what one Prune took away.
type Pruned struct {
	Recordings int
	// Bytes is the size of what is left. It exceeds Retention.Bytes when nothing
	// was left that may go.
	Bytes int64
}

// pruneMax is how many recordings go at a time.
const pruneMax = 256

// Prune takes away what retention does not keep. Recordings that run stay
// whatever their age. The ledger keeps the hashes of what it said and a record
// of what went and why, so that the proof holds.
func (r *Recordings) Prune(ctx context.Context, keep Retention) (Pruned, error) {
	files, err := r.idle()
	if err != nil {
		return Pruned{}, fmt.Errorf("prune recordings: %w", err)
	}
	var p Pruned
	for _, f := range files {
		p.Bytes += f.bytes
	}
	aged, sized := 0, 0
	before := time.Now().Add(-keep.Age)
	left := p.Bytes
	for i, f := range files {
		old := keep.Age > 0 && f.changed.Before(before)
		if !old && (keep.Bytes <= 0 || left <= keep.Bytes) {
			break
		}
		if left -= f.bytes; old {
			aged = i + 1
		}
		sized = i + 1
	}
	err = errors.Join(r.remove(ctx, &p, "age", files[:aged]), r.remove(ctx, &p, "size", files[aged:sized]))
	if err != nil {
		return p, fmt.Errorf("prune recordings: %w", err)
	}
	return p, nil
}

type stored struct {
	id      string
	bytes   int64
	changed time.Time
}

// idle returns the files that nobody writes to, the oldest first.
func (r *Recordings) idle() ([]stored, error) {
	ids, err := IDs(r.opt.Dir)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	r.mu.Lock()
	for rec := range r.open {
		running[rec.id] = true
	}
	r.mu.Unlock()
	var out []stored
	for _, id := range ids {
		info, err := os.Stat(r.path(id, suffix))
		if err == nil && !running[id] {
			out = append(out, stored{id, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(out, func(a, b stored) int {
		return cmp.Or(a.changed.Compare(b.changed), cmp.Compare(a.id, b.id))
	})
	return out, nil
}

// remove takes files away in three steps, each of which recover can finish: they
// get another name, the ledger forgets them, they go.
func (r *Recordings) remove(ctx context.Context, p *Pruned, why string, files []stored) error {
	for list := range slices.Chunk(files, pruneMax) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.removeSome(ctx, p, why, list); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recordings) removeSome(ctx context.Context, p *Pruned, why string, list []stored) error {
	var ids []string
	var bytes int64
	var err error
	for _, f := range list {
		if err = os.Rename(r.path(f.id, suffix), r.path(f.id, suffixGone)); err != nil {
			break
		}
		ids = append(ids, f.id)
		bytes += f.bytes
	}
	if err == nil {
		err = durable.SyncDir(r.opt.Dir)
	}
	if err == nil && r.opt.Ledger != nil {
		err = r.opt.Ledger.Forget(context.WithoutCancel(ctx), why, ids)
	}
	if err != nil {
		for _, id := range ids {
			err = errors.Join(err, os.Rename(r.path(id, suffixGone), r.path(id, suffix)))
		}
		return err
	}
	for _, id := range ids {
		err = errors.Join(err, os.Remove(r.path(id, suffixGone)))
	}
	p.Recordings += len(ids)
	p.Bytes -= bytes
	return err
}

// DirIn returns the directory of recordings in a state directory.
func DirIn(state string) string { return filepath.Join(state, "recordings") }
