// Package bounded keeps what is known of many connections within a bound: how
// many there are, and how many bytes they hold together. It is not safe for
// concurrent use.
package bounded

import "container/list"

// Table keeps the values that were used most recently. The zero value holds
// none; see NewTable.
type Table[K comparable, V any] struct {
	limit   int
	drop    func(V)
	by      map[K]*list.Element // of entry[K, V]
	used    *list.List          // least recently used last
	evicted uint64
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// NewTable returns an empty table for at most limit values. drop is called with
// each value that leaves it.
func NewTable[K comparable, V any](limit int, drop func(V)) *Table[K, V] {
	return &Table[K, V]{limit: limit, drop: drop, by: map[K]*list.Element{}, used: list.New()}
}

// Get returns a value, which counts as a use.
func (t *Table[K, V]) Get(k K) (v V, ok bool) {
	e := t.by[k]
	if e == nil {
		return v, false
	}
	t.used.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

// Add puts in a value whose key is not there. In a full table the one unused for
// longest makes room.
func (t *Table[K, V]) Add(k K, v V) {
	if t.used.Len() >= t.limit {
		t.evicted++
		t.remove(t.used.Back())
	}
	t.by[k] = t.used.PushFront(entry[K, V]{k, v})
}

// Forget drops a value, if it is there.
func (t *Table[K, V]) Forget(k K) {
	if e := t.by[k]; e != nil {
		t.remove(e)
	}
}

func (t *Table[K, V]) remove(e *list.Element) {
	old := t.used.Remove(e).(entry[K, V])
	delete(t.by, old.key)
	t.drop(old.value)
}

// Len returns how many values there are.
func (t *Table[K, V]) Len() int { return len(t.by) }

// Evicted counts the values that had to make room.
func (t *Table[K, V]) Evicted() uint64 { return t.evicted }

// Budget bounds the bytes that buffers hold together.
type Budget struct {
	Limit int
	held  int
}

// Hold appends p to a buffer of at most limit bytes; false when the buffer or the
// budget has no room for it.
func (b *Budget) Hold(buf *[]byte, p []byte, limit int) bool {
	if len(*buf)+len(p) > limit || b.held+len(p) > b.Limit {
		return false
	}
	b.held += len(p)
	*buf = append(*buf, p...)
	return true
}

// Free empties a buffer.
func (b *Budget) Free(buf *[]byte) {
	b.held -= len(*buf)
	*buf = nil
}

// Release says that n bytes are held no longer.
func (b *Budget) Release(n int) { b.held -= n }

// Held returns how many bytes are held.
func (b *Budget) Held() int { return b.held }
