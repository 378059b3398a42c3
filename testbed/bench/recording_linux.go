package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/minio/minlz"

	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// recordings measures what recording adds to a proxy that copies a stream: CPU
// per byte beside a plain copy and one into a raw file in the same rounds, of
// text and of what does not pack; and the memory of a session that says nothing.
func (b *bench) recordings(ctx context.Context) (rows []row, err error) {
	dir, err := os.MkdirTemp(b.engine.Dir, "recordings")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	me, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	for _, data := range []struct {
		name string
		p    []byte
	}{{"text", listing(1 << 20)}, {"noise", noise}} {
		var plain, file, recorded, sealed []float64
		for range b.rounds {
			for _, m := range []struct {
				to  *[]float64
				tee func(dir string) (func([]byte) error, func() error, error)
			}{{&plain, noTee}, {&file, fileTee}, {&recorded, recorder(ctx, nil)}, {&sealed, recorder(ctx, me.Recipient())}} {
				ns, err := copyCost(data.p, (256<<20)/b.scale, dir, m.tee)
				if err != nil {
					return rows, err
				}
				*m.to = append(*m.to, ns)
			}
		}
		base := median(plain)
		over := func(what string, v []float64) row {
			r := atMost(fmt.Sprintf("recording %s, CPU per byte over a plain copy%s", data.name, what), median(v)-base, "ns", 1)
			r.Note = fmt.Sprintf("plain copy %.2f, with a raw file %.2f, with this %.2f", base, median(file), median(v))
			return r
		}
		rows = append(rows, over("", recorded), over(", encrypted", sealed))
		alone, err := b.floor(data.name, data.p, dir)
		rows = append(rows, alone...)
		if err != nil {
			return rows, err
		}
	}
	idle, err := idleCost(ctx, dir, 1000)
	return append(rows, atMost("recording, memory of an idle session", idle, "bytes", 64<<10)), err
}

// listing is what ls -l may print.
func listing(n int) []byte {
	var b bytes.Buffer
	for i := uint32(1); b.Len() < n; i = i*1664525 + 1013904223 {
		fmt.Fprintf(&b, "-rw-r--r-- 1 root root %8d Nov %2d %02d:%02d lib%x.so.%d\r\n", i>>8, 1+i>>8%30, i>>9%24, i>>10%60, i, i>>11%9)
	}
	return b.Bytes()[:n]
}

// copyCost returns ns of CPU time per byte of copying total bytes into a pipe that
// is emptied, in pieces as a proxy reads them, while tee sees each.
func copyCost(p []byte, total int, dir string, tee func(string) (func([]byte) error, func() error, error)) (float64, error) {
	see, done, err := tee(dir)
	if err != nil {
		return 0, err
	}
	from, to, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, done())
	}
	emptied := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, from)
		emptied <- err
	}()
	const piece = 32 << 10
	began := cputime.Total()
	for n := 0; n < total && err == nil; n += piece {
		at := n % len(p)
		if _, err = to.Write(p[at : at+piece]); err == nil {
			err = see(p[at : at+piece])
		}
	}
	took := cputime.Total() - began
	err = errors.Join(err, to.Close(), <-emptied, from.Close(), done())
	return float64(took) / float64(total), err
}

func noTee(string) (func([]byte) error, func() error, error) {
	return func([]byte) error { return nil }, func() error { return nil }, nil
}

func fileTee(dir string) (func([]byte) error, func() error, error) {
	f, err := os.CreateTemp(dir, "raw")
	if err != nil {
		return nil, nil, err
	}
	write := func(p []byte) error { _, err := f.Write(p); return err }
	return write, func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}

// recorder records into a directory of its own; to nil: in clear.
func recorder(ctx context.Context, to age.Recipient) func(dir string) (func([]byte) error, func() error, error) {
	return func(dir string) (func([]byte) error, func() error, error) {
		dir, err := os.MkdirTemp(dir, "set")
		if err != nil {
			return nil, nil, err
		}
		o := recording.Options{Dir: dir}
		if to != nil {
			o.Recipients = []age.Recipient{to}
		}
		set, err := recording.Open(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		rec, err := set.Begin(ctx, recording.Header{})
		if err != nil {
			return nil, nil, errors.Join(err, set.Close())
		}
		write := func(p []byte) error { return errors.Join(rec.Write(recording.Stdout, p), rec.Flush()) } // as what is strict
		return write, func() error { return errors.Join(set.Close(), os.RemoveAll(dir)) }, nil
	}
}

// floor measures the parts that no recorder of its kind can be without, each by
// itself and on what it gets in one: a listing of what the target leaves room for.
func (b *bench) floor(name string, p []byte, dir string) (rows []row, err error) {
	const piece = 32 << 10
	f, err := os.CreateTemp(dir, "floor")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	key, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(key)
	if err != nil {
		return nil, err
	}
	room, nonce := make([]byte, 0, minlz.MaxEncodedLen(piece)+seal.Overhead()), make([]byte, seal.NonceSize())
	packed := make([]byte, 0, 2*len(p))
	for n := 0; n < len(p); n += piece {
		block := minlz.TryEncode(room[:cap(room)], p[n:n+piece], minlz.LevelSuperFast)
		if block == nil {
			block = p[n : n+piece]
		}
		packed = append(packed, block...)
	}
	for _, part := range []struct {
		what string
		from []byte
		do   func([]byte) error
	}{
		{"packed by MinLZ", p, func(p []byte) error { minlz.TryEncode(room[:cap(room)], p, minlz.LevelSuperFast); return nil }},
		{"its hash, SHA-256", packed, func(p []byte) error { sha256.Sum256(p); return nil }},
		{"encrypted, AES-256-GCM", packed, func(p []byte) error { seal.Seal(room, nonce, p, nil); return nil }},
		{"written to a file", packed, func(p []byte) error { _, err := f.Write(p); return err }},
	} {
		took := make([]float64, b.rounds)
		for round := range took {
			began := cputime.Total()
			passed := 0
			for passed < (64<<20)/b.scale {
				for n := 0; n < len(part.from); n += piece {
					if err := part.do(part.from[n:min(n+piece, len(part.from))]); err != nil {
						return rows, err
					}
				}
				passed += len(p)
			}
			took[round] = float64(cputime.Total()-began) / float64(passed)
		}
		rows = append(rows, row{Name: fmt.Sprintf("recording %s, %s, alone", name, part.what), Value: slices.Min(took), Unit: "ns", OK: true, Note: "per byte of the stream"})
	}
	return rows, nil
}

// idleCost returns the bytes of memory of a recorder that has nothing to say.
func idleCost(ctx context.Context, dir string, n int) (float64, error) {
	set, err := recording.Open(ctx, recording.Options{Dir: dir, Delay: time.Millisecond})
	if err != nil {
		return 0, err
	}
	before := heap()
	for range n {
		rec, err := set.Begin(ctx, recording.Header{TTY: true})
		if err == nil {
			err = errors.Join(rec.Write(recording.Stdout, []byte("$ ")), rec.Flush())
		}
		if err != nil {
			return 0, errors.Join(err, set.Close())
		}
	}
	each := (heap() - before) / float64(n)
	return each, set.Close()
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // pools give back in two steps
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
