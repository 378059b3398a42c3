// Package ledger makes an append-only list of records tamper-evident: a Merkle
// tree over the records (RFC 6962, the hashes of golang.org/x/mod/sumdb/tlog)
// and signed checkpoints of it (golang.org/x/mod/sumdb/note, Ed25519).
//
// The package does arithmetic only: where hashes, checkpoints and keys are kept
// is the caller's affair. What the proof covers, and against whom, is in
// docs/decisions/0003-ledger.md.
package ledger

import (
	"crypto/sha256"
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// HashSize is the size of a Hash in bytes.
const HashSize = tlog.HashSize

// Hash is the hash of a record or of a subtree.
type Hash = tlog.Hash

// Leaf returns the hash of a record with the given content.
func Leaf(content []byte) Hash { return tlog.RecordHash(content) }

// Tree is a Merkle tree that grows at its end. It remembers the roots of its
// complete subtrees only: at most 64 hashes, whatever its size. The zero Tree
// is empty.
type Tree struct {
	size  int64
	edge  [64]Hash // by level; valid where size has that bit set
	batch []Hash
}

// Size returns the number of records.
func (t *Tree) Size() int64 { return t.size }

// Append adds a record by its leaf hash. It returns the hashes that the record
// completes: its own at level 0, then one for each level whose subtree ends
// with it. They are what Restore and proofs need of this record; the slice is
// valid until the next Append.
func (t *Tree) Append(leaf Hash) []Hash {
	h := leaf
	t.batch = append(t.batch[:0], h)
	level := 0
	for ; t.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(t.edge[level], h)
		t.batch = append(t.batch, h)
	}
	t.edge[level] = h
	t.size++
	return t.batch
}

// Root returns the hash of the whole tree.
func (t *Tree) Root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil) // RFC 6962 §2.1: the hash of an empty list
	}
	level := bits.TrailingZeros64(uint64(t.size))
	h := t.edge[level]
	for level++; t.size>>level != 0; level++ {
		if t.size>>level&1 == 1 {
			h = tlog.NodeHash(t.edge[level], h)
		}
	}
	return h
}

// Clone returns a copy that grows by itself.
func (t *Tree) Clone() *Tree { return &Tree{size: t.size, edge: t.edge} }

// Restore rebuilds the tree of the given size. The function stored returns the
// hashes that Append returned for a record, for at most 64 records.
func Restore(size int64, stored func(record int64) ([]Hash, error)) (*Tree, error) {
	t := &Tree{size: size}
	for level := range t.edge {
		if size>>level&1 == 0 {
			continue
		}
		// The last complete subtree of this level ends with this record.
		record := size>>level<<level - 1
		hashes, err := stored(record)
		if err != nil {
			return nil, err
		}
		if len(hashes) <= level {
			return nil, errors.New("restore tree: a record has fewer hashes than its place in the tree needs")
		}
		t.edge[level] = hashes[level]
	}
	return t, nil
}
