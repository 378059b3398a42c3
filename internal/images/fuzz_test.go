package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"

	made "github.com/sallyport/sallyport/testbed/images"
)

func small() *budget { return &budget{bytes: 1 << 20, entries: 1000, names: 1 << 16} }

// zeros are so many bytes, of which gzip makes very few.
func zeros(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := w.WriteHeader(&tar.Header{Name: "sh", Mode: 0o755, Size: size})
	_, copied := io.CopyN(w, zero{}, size)
	if err := errors.Join(err, copied, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBounds(t *testing.T) {
	var many, long []made.File
	for range 1001 {
		many = append(many, made.File{Name: "x", Empty: true})
	}
	for range 100 {
		long = append(long, made.File{Name: string(bytes.Repeat([]byte("x"), 1000)), Empty: true})
	}
	for name, in := range map[string][]byte{
		"what becomes large": zeros(t, 2<<20), "many files": made.Layer(many...), "long names": made.Layer(long...),
	} {
		if _, err := readLayer(bytes.NewReader(in), small()); !errors.Is(err, ErrLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readLayer(bytes.NewReader(zeros(t, 1<<19)), small()); err != nil {
		t.Error(err)
	}
}

func TestLongWaysAreBounded(t *testing.T) {
	deep := string(bytes.Repeat([]byte("d/"), 2000))
	l := &layer{}
	for range nodesMax/2000 + 2 {
		l.entries = append(l.entries, entry{name: "/" + deep + "x", kind: file})
	}
	l.entries = l.entries[:3]
	tr := newTree()
	if err := tr.add(l); err != nil {
		t.Fatal(err)
	}
	tr.steps = stepsMax
	if err := tr.add(l); !errors.Is(err, ErrLarge) {
		t.Errorf("steps: %v", err)
	}
	tr.steps, tr.nodes = 0, nodesMax
	if err := tr.add(l); !errors.Is(err, ErrLarge) {
		t.Errorf("nodes: %v", err)
	}
}

// FuzzLayers puts two layers upon each other. Whatever they are, all that is found is in
// the tree and can be executed.
func FuzzLayers(f *testing.F) {
	sh := made.Layer(made.File{Name: "usr/bin/sh"}, made.File{Name: "bin", Link: "usr/bin"})
	f.Add(sh, made.Compress(made.Layer(made.File{Name: "bin/.wh.sh", Empty: true}), made.Zstd))
	f.Add(sh, made.Compress(made.Layer(made.File{Name: "a", Hard: "bin/sh"}, made.File{Name: "b", Link: "../a"}), made.Gzip))
	f.Add(sh, made.Layer(made.File{Name: "etc/passwd", Body: "a:x:1"}, made.File{Name: "usr/.wh..wh..opq", Empty: true}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		budget := small()
		var layers []*layer
		for _, raw := range [][]byte{a, b} {
			l, err := readLayer(bytes.NewReader(raw), budget)
			if err != nil {
				return
			}
			layers = append(layers, l)
		}
		got, err := inside(layers, "a")
		if err != nil {
			return
		}
		tr := newTree()
		for _, l := range layers {
			if err := tr.add(l); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range groups {
			list := *g.of(&got)
			if !slices.IsSorted(list) || len(list) > listMax {
				t.Errorf("%q", list)
			}
			for _, name := range list {
				if n := tr.find(name, true); n == nil || n.kind != file || n.mode&executable == 0 {
					t.Errorf("%q is %+v", name, n)
				}
			}
		}
	})
}

func FuzzArchive(f *testing.F) {
	img := &made.Image{Name: "x:1", Layers: [][]byte{made.Layer(made.File{Name: "bin/sh"})}, Compression: made.Gzip}
	layout, _ := made.OCI(img)
	f.Add(layout.Tar())
	f.Add(made.Compress(made.Saved(img).Tar(), made.Zstd))
	f.Add(made.Platforms("x", img).Tar())
	f.Fuzz(func(t *testing.T, in []byte) {
		a := newArchive(small())
		if a.read(bytes.NewReader(in)) != nil {
			return
		}
		list, _ := a.images()
		for _, i := range list {
			if i.ID == "" || i.ID != i.Inside.Image {
				t.Errorf("%+v", i)
			}
		}
	})
}
