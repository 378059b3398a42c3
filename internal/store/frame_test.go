package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/session"
)

// What is stored refers to the dictionary: it stays what it is.
func TestDictionaryNeverChanges(t *testing.T) {
	sum := sha256.Sum256(dictionary1)
	if got := hex.EncodeToString(sum[:]); got != "debd1eab564a4781cc417f94f1edcb2ab41a087af6265d658b9a014e8d7cdae4" {
		t.Errorf("dictionary1.txt is another one (%s): records can no longer be read", got)
	}
}

func TestFramesLoseNothing(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 100, 3000, shortMax, shortMax + 1, 100_000}).Draw(t, "length")
		part := append(rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "part"), dictionary1[rapid.IntRange(0, 100).Draw(t, "from"):]...)
		content := bytes.Repeat(part, n/len(part)+1)[:n]
		frame := p.appendFrame([]byte("before"), content)
		got, err := u.DecodeAll(frame[6:], []byte("before"))
		if err != nil || string(frame[:6]) != "before" || !bytes.Equal(got, append([]byte("before"), content...)) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if short := frame[6] == shortFrame; short != (n <= shortMax) {
			t.Errorf("%d bytes: short is %t", n, short)
		}
	})
}

// A usual record fits into a fraction of its length.
func TestShortFramesAreShort(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	body, err := appendSession(nil, big(1))
	if err != nil {
		t.Fatal(err)
	}
	content := appendRevision(nil, 1, []string{"new"}, body)
	if n := len(p.pack(content)); n > len(content)/3 {
		t.Errorf("%d of %d bytes", n, len(content))
	}
}

// Whatever a frame holds, it is bounded, and damage is noticed.
func FuzzUnpack(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	u, err := newUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	body, err := appendSession(nil, session.Session{ID: "a"})
	if err != nil {
		f.Fatal(err)
	}
	for _, content := range [][]byte{nil, body, bytes.Repeat([]byte("long "), 5000)} {
		frame := p.pack(content)
		f.Add(frame, uint(0), byte(0))
		f.Add(frame, uint(7), byte(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint, flip byte) {
		if got, err := u.DecodeAll(b, nil); err == nil && len(got) > unpackMax {
			t.Errorf("%d bytes", len(got))
		}
		short := p.appendShort(nil, b[:min(len(b), shortMax)])
		short[at%uint(len(short))] ^= flip
		_, err := u.DecodeAll(short, nil)
		if damaged := flip != 0; damaged != (err != nil) {
			t.Errorf("damaged %t, but %v", damaged, err)
		}
	})
}
