package images_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/images"
	make "github.com/sallyport/sallyport/testbed/images"
)

type file = make.File

// in reads an image of these layers from a layout's archive and returns what is in it.
func in(t *testing.T, img *make.Image) inventory.Inside {
	t.Helper()
	files, _ := make.OCI(img)
	list, err := images.ReadArchive(bytes.NewReader(files.Tar()))
	if err != nil || len(list) != 1 {
		t.Fatalf("%d images, %v", len(list), err)
	}
	out := list[0].Inside
	out.Image = ""
	return out
}

func TestInside(t *testing.T) {
	root := new(int64)
	for _, tt := range []struct {
		name   string
		layers [][]file
		want   inventory.Inside
	}{
		{"nothing", [][]file{{{Name: "app"}}}, inventory.Inside{}},
		{"each kind", [][]file{{
			{Name: "bin/dash"}, {Name: "usr/bin/apt-get"}, {Name: "usr/bin/python3.12"}, {Name: "usr/bin/curl"},
			{Name: "usr/bin/x86_64-linux-gnu-gcc-14"}, {Name: "usr/local/bin/kubectl"}, {Name: "usr/bin/passwd", Mode: 0o4755}, {Name: "usr/bin/ping", Capable: true},
		}}, inventory.Inside{
			Shells: []string{"/bin/dash"}, Packages: []string{"/usr/bin/apt-get"}, Interpreters: []string{"/usr/bin/python3.12"}, Downloaders: []string{"/usr/bin/curl"},
			Compilers: []string{"/usr/bin/x86_64-linux-gnu-gcc-14"}, Clients: []string{"/usr/local/bin/kubectl"}, SetUID: []string{"/usr/bin/passwd"}, Capable: []string{"/usr/bin/ping"},
		}},
		{"what cannot be executed", [][]file{{
			{Name: "usr/share/bash-completion/completions/bash", Mode: 0o644}, {Name: "bin/sh", Empty: true}, {Name: "bin/zsh", Dir: true}, {Name: "bin/ash", Link: "nowhere"}, {Name: "bin/su", Mode: 0o4644},
		}}, inventory.Inside{}},
		{"busybox by links", [][]file{{{Name: "bin/busybox"}, {Name: "bin/sh", Link: "/bin/busybox"}, {Name: "bin/wget", Link: "busybox"}, {Name: "bin/ls", Link: "busybox"}}}, inventory.Inside{
			Shells: []string{"/bin/busybox", "/bin/sh"}, Downloaders: []string{"/bin/busybox", "/bin/wget"}, Interpreters: []string{"/bin/busybox"},
		}},
		{"bin is usr/bin", [][]file{{{Name: "usr/bin/bash"}, {Name: "bin", Link: "usr/bin"}}, {{Name: "bin/ksh"}}}, inventory.Inside{Shells: []string{"/usr/bin/bash", "/usr/bin/ksh"}}},
		{"a link that leads out", [][]file{{{Name: "sh", Link: "../../../../bin/real"}, {Name: "bin/real"}}}, inventory.Inside{Shells: []string{"/sh"}}},
		{"links in a circle", [][]file{{{Name: "sh", Link: "ash"}, {Name: "ash", Link: "sh"}}}, inventory.Inside{}},
		{"removed above", [][]file{{{Name: "bin/sh"}, {Name: "bin/bash"}}, {{Name: "bin/.wh.sh", Empty: true}}}, inventory.Inside{Shells: []string{"/bin/bash"}}},
		{"hidden whole", [][]file{{{Name: "bin/sh"}, {Name: "bin/x/bash"}, {Name: "sbin/sh"}}, {{Name: "bin/ash"}, {Name: "bin/.wh..wh..opq", Empty: true}}}, inventory.Inside{Shells: []string{"/bin/ash", "/sbin/sh"}}},
		{"removed and made anew", [][]file{{{Name: "bin/sh"}}, {{Name: "bin/sh"}, {Name: "bin/.wh.sh", Empty: true}}}, inventory.Inside{Shells: []string{"/bin/sh"}}},
		{"a directory removed", [][]file{{{Name: "opt/x/sh"}}, {{Name: ".wh.opt", Empty: true}}}, inventory.Inside{}},
		{"aufs' own", [][]file{{{Name: "bin/sh"}, {Name: ".wh..wh.plnk", Dir: true}, {Name: ".wh..wh.aufs", Empty: true}}}, inventory.Inside{Shells: []string{"/bin/sh"}}},
		{"a file instead of a directory", [][]file{{{Name: "bin/sh"}}, {{Name: "bin"}}}, inventory.Inside{}},
		{"a directory instead of a file", [][]file{{{Name: "sh"}}, {{Name: "sh/x"}}}, inventory.Inside{}},
		{"mode taken away above", [][]file{{{Name: "bin/su", Mode: 0o4755}, {Name: "bin/sh"}}, {{Name: "bin/su"}, {Name: "bin/sh", Mode: 0o644}}}, inventory.Inside{}},
		{"hard links", [][]file{{{Name: "bin/su", Mode: 0o4755}, {Name: "bin/bash", Hard: "bin/su", Mode: 0o755}}, {{Name: "sh", Hard: "/bin/su"}}}, inventory.Inside{
			Shells: []string{"/bin/bash", "/sh"}, SetUID: []string{"/bin/bash", "/bin/su", "/sh"},
		}},
		{"the last of two counts", [][]file{{{Name: "./bin/sh"}, {Name: "/bin/../bin/sh", Mode: 0o644}}}, inventory.Inside{}},
		{"an empty layer", [][]file{{{Name: "sh"}}, nil}, inventory.Inside{Shells: []string{"/sh"}}},
	} {
		for _, c := range []make.Compression{make.Plain, make.Gzip, make.Zstd} {
			img := &make.Image{Compression: c}
			for _, l := range tt.layers {
				img.Layers = append(img.Layers, make.Layer(l...))
			}
			want := tt.want
			want.UID = root
			if d := cmp.Diff(want, in(t, img)); d != "" {
				t.Errorf("%s, compression %q (-want +got):\n%s", tt.name, c, d)
			}
		}
	}
}

func TestUser(t *testing.T) {
	passwd := file{Name: "etc/passwd", Body: "root:x:0:0::/:\napp:x:1001:1001::/:\n7:x:70:70::/:\n"}
	for user, want := range map[string]int64{"": 0, "root": 0, "app": 1001, "app:app": 1001, "65532": 65532, "65532:0": 65532, "7": 70, "ghost": -1, "-1": -1} {
		got := in(t, &make.Image{User: user, Layers: [][]byte{make.Layer(passwd)}})
		if got.User != user || (got.UID == nil) != (want < 0) || got.UID != nil && *got.UID != want {
			t.Errorf("%q: %v, want %d", user, got.UID, want)
		}
	}
	if got := in(t, &make.Image{User: "root"}); got.UID != nil {
		t.Errorf("root of an image without users is %d", *got.UID)
	}
}

// two are images with a layer in common.
func two() []*make.Image {
	base := make.Layer(file{Name: "bin/sh"})
	return []*make.Image{
		{Name: "docker.io/library/one:1", User: "1", Layers: [][]byte{base}},
		{Name: "r.test:5000/two:2", User: "2", Layers: [][]byte{base, make.Layer(file{Name: "bin/curl"})}},
	}
}

func ids(list []images.Image) (out []string) {
	for _, i := range list {
		out = append(out, i.ID+" "+i.Inside.User+" "+strings.Join(i.Names, ","))
	}
	return out
}

func TestSources(t *testing.T) {
	list := two()
	want := []string{list[0].ID() + " 1 docker.io/library/one:1", list[1].ID() + " 2 r.test:5000/two:2"}
	layout, digests := make.OCI(list...)
	dir := t.TempDir()
	if err := layout.Write(dir); err != nil {
		t.Fatal(err)
	}
	both, _ := make.OCI(list...) // as Docker saves since version 25
	for name, body := range make.Saved(list...) {
		both[name] = body
	}
	archive := func(b []byte) func() ([]images.Image, error) {
		return func() ([]images.Image, error) { return images.ReadArchive(bytes.NewReader(b)) }
	}
	for name, read := range map[string]func() ([]images.Image, error){
		"docker save":            archive(make.Saved(list...).Tar()),
		"docker save, gzip":      archive(make.Compress(make.Saved(list...).Tar(), make.Gzip)),
		"docker save of today":   archive(both.Tar()),
		"OCI archive":            archive(layout.Tar()),
		"OCI layout":             func() ([]images.Image, error) { return images.ReadLayout(t.Context(), dir) },
		"store, each by its own": func() ([]images.Image, error) { return stored(t.Context(), layout, list, digests) },
	} {
		got, err := read()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, ids(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if hasManifests := !strings.HasPrefix(name, "docker save") || strings.HasSuffix(name, "today"); len(got) == 2 && hasManifests && got[1].Digests[0] != digests[1] {
			t.Errorf("%s: %q, want %s", name, got[1].Digests, digests[1])
		}
	}
}

// memory is a content store.
type memory make.Files

func (m memory) Open(_ context.Context, d string) (io.ReadCloser, error) {
	b, ok := m["blobs/sha256/"+strings.TrimPrefix(d, "sha256:")]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func stored(ctx context.Context, files make.Files, list []*make.Image, digests []string) (out []images.Image, err error) {
	for i, d := range digests {
		got, err := images.Read(ctx, memory(files), d, []string{list[i].Name})
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

func TestOldDockerLinksEqualLayers(t *testing.T) {
	list := two()
	files := make.Saved(list...)
	var entries []file
	for name, body := range files {
		entries = append(entries, file{Name: name, Body: string(body)})
	}
	entries = append(entries, file{Name: "other/layer.tar", Link: "../" + strings.TrimPrefix(firstLayer(list[0]), "sha256:") + "/layer.tar"})
	for i := range entries {
		if entries[i].Name == "manifest.json" {
			entries[i].Body = strings.Replace(entries[i].Body, firstLayer(list[0]), "other", 1)
		}
	}
	got, err := images.ReadArchive(bytes.NewReader(make.Layer(entries...)))
	if err != nil || len(got) != 2 || len(got[0].Inside.Shells) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// firstLayer is the directory that Saved gives an image's first layer.
func firstLayer(i *make.Image) string {
	for name := range make.Saved(&make.Image{Layers: i.Layers[:1]}) {
		if dir, ok := strings.CutSuffix(name, "/layer.tar"); ok {
			return dir
		}
	}
	return ""
}

func TestPlatforms(t *testing.T) {
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	windows, foreign, own := &make.Image{OS: "windows", Arch: runtime.GOARCH, User: "w"}, &make.Image{Arch: other, User: "f"}, &make.Image{Arch: runtime.GOARCH, User: "o"}
	for want, list := range map[string][]*make.Image{"o": {windows, foreign, own}, "f": {windows, foreign}} {
		got, err := images.ReadArchive(bytes.NewReader(make.Platforms("x", list...).Tar()))
		if err != nil || len(got) != 1 || got[0].Inside.User != want || len(got[0].Digests) != 2 {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
	if _, err := images.ReadArchive(bytes.NewReader(make.Platforms("x", windows).Tar())); err == nil {
		t.Error("an image for Windows alone is taken for one for Linux")
	}
}

// TestWhatIsRefused has one good image beside a broken one, which must be named and
// must not take the other with it.
func TestWhatIsRefused(t *testing.T) {
	good := &make.Image{Name: "good:1", Layers: [][]byte{make.Layer(file{Name: "bin/sh"})}}
	bad := &make.Image{Name: "bad:1", Layers: [][]byte{make.Layer(file{Name: "bin/curl"})}}
	blob := func(f make.Files, of []byte) string {
		for name, body := range f {
			if bytes.Equal(body, of) {
				return name
			}
		}
		t.Fatal("no such blob")
		return ""
	}
	for want, spoil := range map[string]func(make.Files){
		"is not the one that its configuration names": func(f make.Files) { f[blob(f, bad.Layers[0])] = good.Layers[0] },
		"layer 1: not here":                           func(f make.Files) { delete(f, blob(f, bad.Layers[0])) },
		"another than its digest says":                func(f make.Files) { f[blob(f, bad.Config())] = good.Config() },
		"no tar":                                      func(f make.Files) { f[blob(f, bad.Layers[0])] = []byte("\x1f\x8b") },
		"hides nothing that could be there":           spoiled(bad, file{Name: "bin/.wh...", Empty: true}),
		"a hard link to a directory":                  spoiled(bad, file{Name: "d", Dir: true}, file{Name: "e", Hard: "d"}),
		"too many symbolic links":                     spoiled(bad, file{Name: "a", Link: "b"}, file{Name: "b", Link: "a"}, file{Name: "a/sh"}),
		`"." is no directory`:                         spoiled(bad, file{Name: "."}),
		"names of files":                              spoiled(bad, file{Name: strings.Repeat("x", 5000)}),
	} {
		files, _ := make.OCI(bad, good)
		spoil(files)
		got, err := images.ReadArchive(bytes.NewReader(files.Tar()))
		switch {
		case want == "names of files": // a bound ends it all
			if !errors.Is(err, images.ErrLarge) {
				t.Errorf("%s: %v", want, err)
			}
		case want == "no tar":
			if err == nil || len(got) != 1 {
				t.Errorf("%s: %v, %v", want, ids(got), err)
			}
		case err == nil || !strings.Contains(err.Error(), want) || len(got) != 1 || got[0].Names[0] != "good:1":
			t.Errorf("%s: %v, %v", want, ids(got), err)
		}
	}
}

// spoiled gives the bad image another layer, and all that names it.
func spoiled(bad *make.Image, list ...file) func(make.Files) {
	return func(f make.Files) {
		good := f["index.json"]
		other := *bad
		other.Layers = [][]byte{make.Layer(list...)}
		more, _ := make.OCI(&other)
		was, _ := make.OCI(bad)
		for name, body := range more {
			f[name] = body
		}
		f["index.json"] = bytes.Replace(good, manifestOf(was), manifestOf(more), 1)
	}
}

// manifestOf is what an index says of its first image up to the size.
func manifestOf(f make.Files) []byte {
	index := f["index.json"]
	from := bytes.Index(index, []byte(`"digest"`))
	return index[from : from+bytes.IndexByte(index[from:], '}')]
}

func TestWindowsImage(t *testing.T) {
	files, _ := make.OCI(&make.Image{OS: "windows"})
	if _, err := images.ReadArchive(bytes.NewReader(files.Tar())); err == nil || !strings.Contains(err.Error(), "only those for Linux are understood") {
		t.Error(err)
	}
}

func TestNoArchive(t *testing.T) {
	for _, in := range [][]byte{nil, []byte("x"), make.Layer(), make.Layer(file{Name: "x"}), make.Layer(file{Name: "index.json", Body: `"x"`}), make.Saved(two()...).Tar()[:3000]} {
		if got, err := images.ReadArchive(bytes.NewReader(in)); err == nil {
			t.Errorf("%d bytes: %v", len(in), ids(got))
		}
	}
}

func TestFind(t *testing.T) {
	var s images.Set
	list := two()
	files, digests := make.OCI(list...)
	read, err := images.ReadArchive(bytes.NewReader(files.Tar()))
	if err != nil {
		t.Fatal(err)
	}
	s.Add(read)
	for _, tt := range []struct {
		image, id string
		want      string // the user
		by        inventory.Match
	}{
		{"one:1", "", "1", inventory.ByName},
		{"docker.io/one:1", "", "1", inventory.ByName},
		{"one", "", "", ""}, // latest
		{"r.test:5000/two:2", "", "2", inventory.ByName},
		{"two:2", "", "", ""},
		{"x", list[0].ID(), "1", inventory.ByDigest},
		{"one:1", digests[1], "2", inventory.ByDigest},
		{"r.test/x@" + digests[1], "", "2", inventory.ByDigest},
		{"one:1@" + "sha256:" + strings.Repeat("0", 64), "", "", ""}, // another of that name
		{list[1].ID(), "", "2", inventory.ByDigest},
		{"Not a name", "", "", ""},
		{"", "", "", ""},
	} {
		got := s.Find(&inventory.Container{Image: tt.image, ImageID: tt.id})
		switch {
		case got == nil && tt.want != "" || got != nil && (got.User != tt.want || got.By != tt.by):
			t.Errorf("%s %s: %+v, want %q by %s", tt.image, tt.id, got, tt.want, tt.by)
		}
	}
	if (&images.Set{}).Find(&inventory.Container{Image: "one:1"}) != nil {
		t.Error("an empty set has something")
	}
}

func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c, err := images.OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := two()[0].ID()
	if _, ok := c.Get(id); ok {
		t.Error("an empty cache has something")
	}
	want := []images.Image{{ID: id, Names: []string{"x"}, Inside: inventory.Inside{Image: id, Shells: []string{"/bin/sh"}}}}
	if err := c.Put(id, want); err != nil {
		t.Fatal(err)
	}
	got, ok := c.Get(id)
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Errorf("%v %s", ok, d)
	}
	for _, bad := range []string{"", "x", "sha256:../../x"} {
		if c.Put(bad, want) == nil {
			t.Errorf("%q was kept", bad)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get(id); ok {
		t.Error("a broken entry is taken")
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := images.OpenCache(dir); err == nil {
		t.Error("a directory that all may write to is taken")
	}
}
