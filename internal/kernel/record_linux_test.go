//go:build linux && (amd64 || arm64)

package kernel

import (
	"os"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// raw is the inverse of fixed: a record with its data and, as in the ring
// buffer, some padding behind it.
func raw[T any](v T, data ...string) []byte {
	b := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))...)
	for _, d := range data {
		b = append(b, d...)
	}
	return append(b, 0, 0, 0)
}

func headOf(k sensorKind, flags ...sensorFlag) sensorHead {
	h := sensorHead{Kind: uint8(k), Time: 42}
	for _, f := range flags {
		h.Flags |= uint16(f)
	}
	return h
}

func sampleExec(flags ...sensorFlag) []byte {
	return raw(sensorExecRecord{
		Head: headOf(sensorKindKIND_EXEC, flags...), FilenameLen: 8, PathLen: 11, ArgvLen: 12, ArgvTotal: 12, CgroupLen: 9,
	}, "/bin/ls\x00", "busybox\x00bin"[:11], "ls\x00\x00a\xffb\x00-l\x00\x00"[:12], "c1\x00docker")
}

func samples() map[string][]byte {
	path := [108]uint8{}
	copy(path[:], "/run/docker.sock")
	return map[string][]byte{
		"entry":   raw(sensorEntryRecord{Head: headOf(sensorKindKIND_ENTRY), AncestorCount: 2, ArgvLen: 3, ArgvTotal: 3, CgroupLen: 3}, "sh\x00", "c1\x00"),
		"exec":    sampleExec(sensorFlagFLAG_PATH_WHOLE),
		"fork":    raw(sensorForkRecord{Head: headOf(sensorKindKIND_FORK)}),
		"exit":    raw(sensorExitRecord{Head: headOf(sensorKindKIND_EXIT), Code: 256}),
		"client":  raw(sensorExitRecord{Head: headOf(sensorKindKIND_CLIENT_EXIT)}),
		"found":   raw(sensorFoundRecord{Head: headOf(sensorKindKIND_FOUND), CgroupLen: 3}, "c1\x00"),
		"connect": raw(sensorConnectRecord{Head: headOf(sensorKindKIND_CONNECT), Path: path, ArgvLen: 5, ArgvTotal: 5}),
		"wake":    raw(sensorWakeRecord{Head: headOf(sensorKindKIND_WAKE)}),
		"accept":  raw(sensorAcceptRecord{Head: headOf(sensorKindKIND_ACCEPT), Remote: sensorEndpoint{Port: 1}}),
		"close":   raw(sensorCloseRecord{Head: headOf(sensorKindKIND_CLOSE)}),
		"segment": raw(sensorSegmentRecord{Head: headOf(sensorKindKIND_SEGMENT), Length: 100, DataLen: 4}, "GET "),
	}
}

func TestDecodeKnowsEveryKind(t *testing.T) {
	for name, b := range samples() {
		if _, err := decode(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeExec(t *testing.T) {
	r, err := decode(sampleExec(sensorFlagFLAG_PATH_WHOLE))
	if err != nil {
		t.Fatal(err)
	}
	x := r.exec
	if x.filename != "/bin/ls" || x.path != "/bin/busybox" {
		t.Errorf("filename %q, path %q", x.filename, x.path)
	}
	if d := cmp.Diff([]string{"ls", "", "a\xffb", "-l", ""}, x.argv.Args); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"c1", "docker"}, x.cgroup); d != "" {
		t.Error(d)
	}
}

func TestPathThatWasNotReadWholeIsAbsent(t *testing.T) {
	r, err := decode(sampleExec())
	if err != nil {
		t.Fatal(err)
	}
	if r.exec.path != "" {
		t.Errorf("path %q", r.exec.path)
	}
}

func TestDecodeRefusesLies(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":                  {},
		"half a head":              {3, 0, 0},
		"unknown kind":             raw(headOf(99)),
		"half a record":            raw(headOf(sensorKindKIND_EXEC)),
		"argv beyond the end":      raw(sensorExecRecord{Head: headOf(sensorKindKIND_EXEC), ArgvLen: 1 << 30}),
		"more ancestors than room": raw(sensorEntryRecord{Head: headOf(sensorKindKIND_ENTRY), AncestorCount: 9}),
		"client's argv too long":   raw(sensorConnectRecord{Head: headOf(sensorKindKIND_CONNECT), ArgvLen: 4096}),
		"more data than length":    raw(sensorSegmentRecord{Head: headOf(sensorKindKIND_SEGMENT), Length: 1, DataLen: 2}, "GE"),
	} {
		if _, err := decode(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestArgvOf(t *testing.T) {
	got := argvOf([]byte("a\x00b"), 9000, 7)
	want := event.Argv{Args: []string{"a", "b"}, Bytes: 9000, Truncated: true, Hash: 7}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := argvOf(nil, 0, 0); got.Args != nil || got.Truncated {
		t.Errorf("no arguments: %+v", got)
	}
}

func TestExitStatus(t *testing.T) {
	for status, want := range map[uint32][2]int{0: {0, 0}, 0x100: {1, 0}, 0xff00: {255, 0}, 9: {137, 9}, 0x8b: {139, 11}} {
		if code, sig := exitStatus(status); code != want[0] || sig != want[1] {
			t.Errorf("exitStatus(%#x) = %d, %d, want %v", status, code, sig, want)
		}
	}
}

func TestUnsetLoginIsAbsent(t *testing.T) {
	c := sensorIdentity{Uid: 1000, Loginuid: unset, Session: unset}.event()
	if c.LoginUID != nil || c.AuditSession != nil {
		t.Errorf("%+v", c)
	}
	c = sensorIdentity{Loginuid: 1000, Session: 3}.event()
	if c.LoginUID == nil || *c.LoginUID != 1000 || c.AuditSession == nil || *c.AuditSession != 3 {
		t.Errorf("%+v", c)
	}
}

func TestTTYName(t *testing.T) {
	for in, want := range map[string]string{"pts0": "pts/0", "pts12": "pts/12", "tty1": "tty1", "": "", "pts": "pts"} {
		if got := ttyName(in); got != want {
			t.Errorf("ttyName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCgroupNames(t *testing.T) {
	for in, want := range map[string][]string{
		"9:name=systemd:/\n8:pids:/docker/abc\n0::/other\n": {"abc", "docker"},
		"8:pids:/\n0::/docker/abc\n":                        {"abc", "docker"},
		"0::/\n":                                            nil,
		"":                                                  nil,
		"nonsense\n0::/a:b/c\n":                             {"c", "a:b"},
	} {
		if d := cmp.Diff(want, cgroupNames(in)); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}

func TestReadProcMindsReusedPIDs(t *testing.T) {
	self := event.ProcessID{PID: uint32(os.Getpid())}
	ticks, err := startTicks("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	self.Start = ticks*tick + 12345
	info, err := readProc(self)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.argv.Args) == 0 || info.exe.Path == "" || info.exe.Inode == 0 {
		t.Errorf("read %+v", info)
	}
	self.Start += tick
	if _, err := readProc(self); err == nil {
		t.Error("another process of the same pid was read")
	}
}

func TestEndpoint(t *testing.T) {
	mapped := [16]uint8{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 7}
	for want, e := range map[string]sensorEndpoint{
		"192.0.2.7:55012": {Addr: mapped, Port: 55012},
		"[::1]:1":         {Addr: [16]uint8{15: 1}, Port: 1},
	} {
		if got := e.event().String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestCredOf(t *testing.T) {
	c := credOf("Name:\tx\nUid:\t1001\t1002\t1002\t1002\nGid:\t5\t6\t6\t6\nGroups:\t1 2 3 4\n")
	if c.UID != 1002 || c.GID != 6 {
		t.Errorf("%+v", c)
	}
}

func FuzzCredOf(f *testing.F) {
	f.Add("Uid:\t1\t2\t3\t4\n")
	f.Fuzz(func(_ *testing.T, s string) { credOf(s) })
}

func FuzzDecodeRecord(f *testing.F) {
	for _, b := range samples() {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		// What a decoded record is asked for must not panic either.
		switch {
		case r.exec != nil:
			r.exec.executable()
		case r.entry != nil:
			for _, a := range r.entry.Ancestors[:r.entry.AncestorCount] {
				a.event()
			}
		case r.exit != nil:
			exitStatus(r.exit.Code)
		case r.accept != nil:
			r.accept.Remote.event()
		}
	})
}

func FuzzCgroupNames(f *testing.F) {
	f.Add("8:pids:/docker/abc\n0::/other\n")
	f.Add("0::/")
	f.Fuzz(func(t *testing.T, s string) {
		if n := len(cgroupNames(s)); n > int(sensorBoundMAX_CGROUPS) {
			t.Errorf("%d names", n)
		}
	})
}
