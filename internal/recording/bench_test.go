package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/sallyport/sallyport/testbed/cputime"
)

// What a session may print: the output of a build or ls -l (text), and what
// does not compress (noise).
func benchText(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "-rw-r--r-- 1 root root %8d Nov %2d %02d:%02d lib%x.so.%d\r\n",
			r.IntN(1<<24), 1+r.IntN(30), r.IntN(24), r.IntN(60), r.Uint32(), r.IntN(9))
	}
	return b.Bytes()[:n]
}

func benchNoise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b)
	return b
}

// BenchmarkCopy compares a proxy's copy loop (32 kB at a time, into a pipe that
// another goroutine empties) with and without recording. Strict is flushed before
// each piece passes.
func BenchmarkCopy(b *testing.B) {
	me, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	const chunk = 32 << 10
	for _, data := range []struct {
		name string
		p    []byte
	}{{"text", benchText(1 << 20)}, {"noise", benchNoise(1 << 20)}} {
		run := func(name string, tee func(b *testing.B) func([]byte) error) {
			b.Run(data.name+"/"+name, func(b *testing.B) {
				write := tee(b)
				from, to, err := os.Pipe()
				if err != nil {
					b.Fatal(err)
				}
				defer to.Close()
				go io.Copy(io.Discard, from)
				b.SetBytes(chunk)
				b.ReportAllocs()
				before := cputime.Total()
				i := 0
				for ; b.Loop(); i++ {
					at := i * chunk % len(data.p)
					if _, err := to.Write(data.p[at : at+chunk]); err != nil {
						b.Fatal(err)
					}
					if err := write(data.p[at : at+chunk]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cputime.Total()-before)/float64(i*chunk), "cpu-ns/B")
			})
		}
		run("plain", func(*testing.B) func([]byte) error { return func([]byte) error { return nil } })
		run("file", func(b *testing.B) func([]byte) error {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { f.Close() })
			return func(p []byte) error { _, err := f.Write(p); return err }
		})
		record := func(o Options, strict bool) func(b *testing.B) func([]byte) error {
			return func(b *testing.B) func([]byte) error {
				o.Dir = b.TempDir()
				rec := begin(b, openSet(b, o), Header{})
				return func(p []byte) error {
					err := rec.Write(Stdout, p)
					if strict {
						err = errors.Join(err, rec.Flush())
					}
					return err
				}
			}
		}
		run("lenient", record(Options{}, false))
		run("strict", record(Options{}, true))
		run("encrypted", record(Options{Recipients: []age.Recipient{me.Recipient()}}, true))
	}
}

// BenchmarkWrite is one frame of a few bytes, as typing makes them; flushed: each
// is a block.
func BenchmarkWrite(b *testing.B) {
	for _, flushed := range []bool{false, true} {
		b.Run(fmt.Sprintf("flushed=%t", flushed), func(b *testing.B) {
			rec := begin(b, openSet(b, Options{}), Header{})
			p := []byte("total 12\r\n")
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				err := rec.Write(Stdout, p)
				if flushed {
					err = errors.Join(err, rec.Flush())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
