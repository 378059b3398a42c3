package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Keeper keeps a few hundred bytes across restarts.
type Keeper interface {
	// Load returns what was saved last, nil when nothing was.
	Load() ([]byte, error)
	Save([]byte) error
}

// headMax is how much of a file's beginning names it. An audit event has an id
// and two times, so no two logs begin alike; unlike an inode number that holds
// also when a rotated file has been compressed, copied or moved.
const headMax = 1024

// bookmark is a place in a log, and when it was the end of it.
type bookmark struct {
	Version int    `json:"version"`
	Head    string `json:"head"` // SHA-256 of the first HeadLen bytes
	HeadLen int    `json:"head_len"`
	Offset  int64  `json:"offset"`
	// Time is when everything before the place, and nothing after it, had been
	// read.
	Time time.Time `json:"time"`
}

// matches reports whether a file that begins with head, of at least headMax
// bytes or whole, is the one that the bookmark lies in.
func (b *bookmark) matches(head []byte) bool {
	return b.HeadLen > 0 && len(head) >= b.HeadLen && digest(head[:b.HeadLen]) == b.Head
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func loadBookmark(k Keeper) (*bookmark, error) {
	if k == nil {
		return nil, nil
	}
	data, err := k.Load()
	if err != nil || data == nil {
		return nil, err
	}
	var b bookmark
	if err := json.Unmarshal(data, &b); err != nil || b.Version != 1 || b.Offset < 0 || b.HeadLen < 0 || b.HeadLen > headMax {
		return nil, fmt.Errorf("read bookmark: not one of ours: %.80q", data)
	}
	return &b, nil
}

func (b bookmark) save(k Keeper) error {
	if k == nil {
		return nil
	}
	b.Version = 1
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return k.Save(append(data, '\n'))
}

// readHead returns the first headMax bytes, or fewer when there are no more.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, headMax)
	n, err := io.ReadFull(r, head)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return head[:n], err
}
