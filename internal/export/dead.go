package export

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// errDeadFull says that the dead letter file has no room.
var errDeadFull = errors.New("dead letter file is full: look at it, then move it away")

// deadLetters is a file of what no receiver takes: one JSON object a line, with
// the time, the reason and the record.
type deadLetters struct {
	file  string
	limit int64

	mu sync.Mutex // one writer at a time
}

type deadLetter struct {
	Time   time.Time       `json:"time"`
	Reason string          `json:"reason"`
	Record json.RawMessage `json:"record"`
}

// add appends bodies, synced. All of them or, on an error, none.
func (d *deadLetters) add(reason string, bodies ...[]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var text []byte
	for _, b := range bodies {
		if !json.Valid(b) {
			b, _ = json.Marshal(string(b))
		}
		line, err := json.Marshal(deadLetter{time.Now().UTC(), reason, b})
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	f, err := os.OpenFile(d.file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size()+int64(len(text)) > d.limit {
		return errDeadFull
	}
	_, err = f.WriteAt(text, info.Size())
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return nil
}
