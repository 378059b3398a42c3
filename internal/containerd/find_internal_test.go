//go:build linux

package containerd

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

const unixTable = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01   123 /run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 14142 /tmp/a b/d.sock
0000000000000000: 00000003 00000000 00000000 0001 03 14143 /run/docker.sock
0000000000000000: 00000003 00000000 00000000 0001 03 14144
0000000000000000: 00000002 00000000 00010000 0001 01 14145 @/run/docker.sock
`

func TestListening(t *testing.T) {
	for path, want := range map[string][]uint64{
		"/run/docker.sock": {123}, "/tmp/a b/d.sock": {14142}, "/run": nil, "": nil,
	} {
		got := slices.Collect(maps.Keys(listening(strings.NewReader(unixTable), []string{path})))
		if !slices.Equal(got, want) {
			t.Errorf("listening on %q: %v, want %v", path, got, want)
		}
	}
}

func FuzzListening(f *testing.F) {
	f.Add(unixTable, "/run/docker.sock")
	f.Add("x: 1 2 00010000", "")
	f.Fuzz(func(t *testing.T, table, path string) {
		if listening(strings.NewReader(table), []string{path})[0] && !strings.Contains(table, "0") {
			t.Fatal("inode from nowhere")
		}
	})
}

func FuzzParseDiag(f *testing.F) {
	f.Add(append(make([]byte, diagHeader), 8, 0, 2, 0, 1, 2, 3, 4))
	f.Add(append([]byte{1, 1, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 6, 0, 0, 0, '/', 'a', 0, 0, 8, 0, 2, 0, 7, 0, 0, 0))
	f.Fuzz(func(t *testing.T, msg []byte) { parseDiag(msg) })
}

func TestParseDiag(t *testing.T) {
	msg := append([]byte{1, 1, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 6, 0, 0, 0, '/', 'a', 0, 0, 8, 0, 2, 0, 7, 0, 0, 0)
	inode, s, ok := parseDiag(msg)
	if !ok || inode != 9 || s != (unixSocket{name: "/a", peer: 7}) {
		t.Errorf("parsed %d %+v %v", inode, s, ok)
	}
}

func TestFromArgs(t *testing.T) {
	for args, want := range map[string]string{
		"containerd --config /run/docker/containerd/containerd.toml --log-level info": "/run/docker/containerd/containerd.sock",
		"/usr/bin/containerd -a /run/c.sock":                                          "/run/c.sock",
		"containerd --config":                                                         "",
		"containerd":                                                                  "",
		"containerd-shim-runc-v2 -address /run/c.sock":                                "",
		"": "",
	} {
		if got := fromArgs(strings.Split(args, " ")); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
