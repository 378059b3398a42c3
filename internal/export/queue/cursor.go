package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/lib/durable"
)

// cursor is what the queue remembers beside its segments.
type cursor struct {
	Version int    `json:"sallyport_export_queue"`
	Acked   uint64 `json:"acknowledged"`
	// Position is that of the latest entry that was acknowledged or, when
	// nothing waits, that up to which everything was looked at.
	Position int64 `json:"position"`
}

const (
	cursorVersion = 1
	cursorName    = "queue.json"
)

func (q *Queue) loadCursor() error {
	text, err := os.ReadFile(filepath.Join(q.opt.Dir, cursorName))
	if errors.Is(err, os.ErrNotExist) {
		q.saved = cursor{Version: cursorVersion, Position: q.opt.Start}
		q.ackedPos = q.opt.Start
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &q.saved)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", cursorName, err)
	}
	if q.saved.Version != cursorVersion {
		return fmt.Errorf("%s: version %d, this sallyport reads %d", cursorName, q.saved.Version, cursorVersion)
	}
	q.acked, q.ackedPos = q.saved.Acked, q.saved.Position
	return nil
}

// save writes, mu held, the cursor down, synced.
func (q *Queue) save() error {
	c := cursor{Version: cursorVersion, Acked: q.acked, Position: q.ackedPos}
	if q.entries() == 0 {
		c.Position = q.last
	}
	q.savedAt = time.Now()
	if c == q.saved && q.saved.Version != 0 {
		if _, err := os.Stat(filepath.Join(q.opt.Dir, cursorName)); err == nil {
			return nil
		}
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = durable.Replace(filepath.Join(q.opt.Dir, cursorName), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the queue's cursor: %w", err)
	}
	q.saved = c
	return durable.SyncDir(q.opt.Dir)
}
