package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Bounds of a cache.
const (
	cacheEntries = 2000
	cacheMax     = 1 << 20 // bytes of one entry
)

// cacheForm is part of the names of a cache's files. It changes whenever the same image
// would be said to hold something else, as when names are added to the groups.
const cacheForm = "1"

// Cache keeps what is in images, by their digests, in a directory of files that only
// their owner may read or write. What is in an image never changes, so nothing gets old;
// of too many entries those that were not used for the longest time go.
type Cache struct{ dir string }

// OpenCache makes the directory where there is none. It refuses one that others may
// write to: who does could hide what is in an image.
func OpenCache(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache of images: %w", err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache of images: %w", err)
	}
	if !st.IsDir() || !ours(st) {
		return nil, fmt.Errorf("open cache of images: %s is no directory that only you may write to: chmod 700 it, or remove it", dir)
	}
	return &Cache{dir}, nil
}

// name is the file of an image; "" for what is no digest.
func (c *Cache) name(id string) string {
	d := digest.Digest(id)
	if d.Validate() != nil {
		return ""
	}
	return filepath.Join(c.dir, cacheForm+"-"+d.Algorithm().String()+"-"+d.Encoded()+".json")
}

// Get returns what was put; false when that is nothing, or cannot be read.
func (c *Cache) Get(id string) ([]Image, bool) {
	name := c.name(id)
	if name == "" {
		return nil, false
	}
	st, err := os.Lstat(name)
	if err != nil || !st.Mode().IsRegular() || st.Size() > cacheMax {
		return nil, false
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	var out []Image
	if json.Unmarshal(raw, &out) != nil {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // used
	return out, true
}

// Put keeps what is in an image.
func (c *Cache) Put(id string, list []Image) error {
	name := c.name(id)
	raw, err := json.Marshal(list)
	if name == "" || err != nil || len(raw) > cacheMax {
		return errors.Join(fmt.Errorf("keep image %.100q: it cannot be kept", id), err)
	}
	f, err := os.CreateTemp(c.dir, "new-") // 0600
	if err != nil {
		return fmt.Errorf("keep image: %w", err)
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("keep image: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return c.prune()
}

// prune removes the entries that were not used for the longest time, and what an earlier
// write has left.
func (c *Cache) prune() error {
	files, err := os.ReadDir(c.dir)
	if err != nil || len(files) <= cacheEntries {
		return err
	}
	type used struct {
		name string
		at   time.Time
	}
	var all []used
	for _, f := range files {
		if info, err := f.Info(); err == nil && (strings.HasSuffix(f.Name(), ".json") || strings.HasPrefix(f.Name(), "new-")) {
			all = append(all, used{f.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b used) int { return a.at.Compare(b.at) })
	for _, u := range all[:max(0, len(all)-cacheEntries)] {
		if err := os.Remove(filepath.Join(c.dir, u.name)); err != nil {
			return fmt.Errorf("prune cache of images: %w", err)
		}
	}
	return nil
}
