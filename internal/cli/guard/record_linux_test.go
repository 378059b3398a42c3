package guard

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/recordings"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

const recordRules = `version: 1
default: allow
rules:
  - id: tape
    when: session.kind in ["exec", "attach", "copy"] && session.channel.startsWith("DK-")
    effect: [allow, record]
`

// recordedGuard is a guard with a place for recordings, and the program that
// reads them.
type recordedGuard struct {
	*guardProcess
	bin, rules, dir string
}

func startRecording(t *testing.T, e *docker.Engine, bin, dir string, args ...string) *recordedGuard {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte(recordRules), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startGuard(t, bin, e, rules, append([]string{"--enforce", "--record", dir}, args...)...)
	return &recordedGuard{p, bin, rules, dir}
}

// read runs a command that reads recordings, and returns what it prints.
func (g *recordedGuard) read(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.reading(args...)
	if err != nil {
		t.Fatalf("sallyport %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (g *recordedGuard) reading(args ...string) (string, error) {
	cmd := exec.Command(g.bin, append(args, "--state", g.dir)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// raw returns what was recorded of a stream.
func (g *recordedGuard) raw(t *testing.T, id, stream string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "raw")
	g.read(t, "recordings", "export", id, "--format", "raw", "--stream", stream, "-o", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// list returns the recordings, in order, once there are that many that ended.
func (g *recordedGuard) list(t *testing.T, ended int) (all []recordings.Recorded) {
	t.Helper()
	testbed.Eventually(t, 20*time.Second, "recordings that ended", func() bool {
		all = nil
		n := 0
		for line := range strings.Lines(g.read(t, "recordings", "list", "--json")) {
			var r recordings.Recorded
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if all = append(all, r); r.State == "ended" {
				n++
			}
		}
		return n >= ended
	})
	return all
}

// onTerminal runs a shell on a terminal, types, and returns what is shown.
func (g *recordedGuard) onTerminal(t *testing.T, e *docker.Engine, typed string, args ...string) string {
	t.Helper()
	cmd := e.CLI(t.Context(), args...)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+g.socket)
	term, err := testbed.StartTerminal(cmd, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	stop := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	var out []byte
	for b := make([]byte, 1<<12); ; { // ends with EIO
		n, err := term.Read(b)
		out = append(out, b[:n]...)
		if typed != "" && bytes.Contains(out, []byte("# ")) { // the prompt: before, our own terminal would echo
			_, _ = io.WriteString(term, typed)
			typed = ""
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return string(out)
}

// TestGuardRecords: what passes the guard is played back byte by byte, is proven,
// and a changed byte is found.
func TestGuardRecords(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	dir := filepath.Join(t.TempDir(), "records")
	g := startRecording(t, e, bin, dir)
	e.RunT(t, "--name", "web", docker.Image)

	piped := e.CLI(t.Context(), "exec", "-i", "web", "sh", "-c", "cat; printf 'err\\000\\377\\033[31m' >&2; exit 3")
	piped.Env = append(piped.Env, "DOCKER_HOST=unix://"+g.socket)
	piped.Stdin = bytes.NewReader(bytes.Repeat([]byte("some text and \x00\xff\x1b[2J\n"), 5000))
	var stdout, stderr bytes.Buffer
	piped.Stdout, piped.Stderr = &stdout, &stderr
	if err := piped.Run(); err == nil || stdout.Len() < 100_000 {
		t.Fatalf("%v %d bytes", err, stdout.Len())
	}
	shown := g.onTerminal(t, e, "ls /\nstty -echo; read x; stty echo\nhidden\nexit 4\n", "exec", "-it", "web", "sh")
	if _, err := g.docker(t, e, 0, "cp", "web:/etc", "-"); err != nil {
		t.Error(err)
	}
	all := g.list(t, 3)
	if len(all) != 3 {
		t.Fatalf("%d recordings", len(all))
	}
	pipe, tty, cp := all[0], all[1], all[2]
	if got := g.raw(t, pipe.ID, "stdout"); got != stdout.String() {
		t.Errorf("stdout: %d bytes recorded, %d seen", len(got), stdout.Len())
	}
	if got := g.raw(t, pipe.ID, "stderr"); got != stderr.String() {
		t.Errorf("stderr: %q recorded, %q seen", got, stderr.String())
	}
	if got := g.raw(t, tty.ID, "stdout"); got != shown || !strings.Contains(shown, "exit 4") {
		t.Errorf("terminal: %q recorded, %q seen", got, shown)
	}
	if got := g.raw(t, pipe.ID, "stdin") + g.raw(t, tty.ID, "stdin"); got != "" {
		t.Errorf("standard input is recorded unasked: %d bytes", len(got))
	}
	if pipe.TTY || !tty.TTY || pipe.Target.ContainerName != "web" || pipe.Actor.User != "root" || pipe.Exec == "" || len(pipe.Argv) != 3 || string(tty.Argv[0]) != "sh" {
		t.Errorf("%+v\n%+v", pipe, tty)
	}
	if cp.Path != "/etc" || cp.Kind != "copy" {
		t.Errorf("%+v", cp)
	}
	played := exec.Command(bin, "play", tty.ID, "--speed", "1000", "--state", dir)
	if out, err := played.Output(); err != nil || string(out) != shown {
		t.Errorf("%v: played %q, seen %q", err, out, shown)
	}
	if out := g.read(t, "play", string(cp.Session)); !strings.Contains(out, "what is copied is not recorded") {
		t.Errorf("by the request's id: %s", out)
	}
	t.Logf("%s%s", g.read(t, "recordings"), g.read(t, "verify"))
	if out := g.read(t, "verify"); !strings.Contains(out, "the files of 3 recordings") {
		t.Errorf("%s", out)
	}
	if err := g.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, g.said())
	}
	t.Logf("%s", g.said())
	flip(t, pipe.File)
	if out, err := g.reading("verify"); err == nil || !strings.Contains(out, "Not proven: recording "+pipe.ID) || strings.Contains(out, tty.ID) {
		t.Errorf("a changed byte: %v %s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

// flip changes a byte of the last block of a file.
func flip(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)-8] ^= 1
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestGuardRecordsUntilKilled: a kill of the guard ends the session, and all that
// was seen before is recorded, and proven.
func TestGuardRecordsUntilKilled(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	dir := filepath.Join(t.TempDir(), "records")
	g := startRecording(t, e, bin, dir, "--recording-input", "echoed")
	e.RunT(t, "--name", "web", docker.Image)
	cmd := e.CLI(t.Context(), "exec", "web", "sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done")
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+g.socket)
	var seen bytes.Buffer
	cmd.Stdout = &seen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if err := g.end(syscall.SIGKILL); err == nil {
		t.Error("it ended in order")
	}
	_ = cmd.Wait()
	g = startRecording(t, e, bin, dir)
	all := g.list(t, 0)
	if len(all) != 1 || all[0].State != "torn" {
		t.Fatalf("%+v", all)
	}
	file := filepath.Join(t.TempDir(), "raw")
	if out, err := g.reading("recordings", "export", all[0].ID, "--format", "raw", "-o", file); err != nil {
		t.Logf("%v %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, want := string(b), seen.String()
	if !strings.HasPrefix(got, want) || want == "" {
		t.Errorf("recorded %d bytes, seen %d", len(got), len(want))
	}
	t.Logf("recorded %d bytes of %d that were seen", len(got), len(want))
	if out := g.read(t, "verify"); !strings.Contains(out, "the files of 1 recording") {
		t.Errorf("%s", out)
	}
}

// smallDisk mounts a tmpfs, unmounted again at the end of the test, and returns
// what fills it up and what gives the room back.
func smallDisk(t *testing.T, size string) (dir string, fill, free func()) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	fill = func() {
		t.Helper()
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for n := 1 << 16; n > 0; n /= 2 {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, n))
			}
		}
	}
	return dir, fill, func() { _ = os.Remove(ballast) }
}

// TestGuardOnAFullDisk: strict refuses and ends sessions, and says why; lenient
// goes on and marks the gap.
func TestGuardOnAFullDisk(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	id := e.RunT(t, "--name", "web", docker.Image)
	const noise = "head -c 6000000 /dev/urandom"
	t.Run("strict", func(t *testing.T) {
		disk, fill, free := smallDisk(t, "4m")
		g := startRecording(t, e, bin, filepath.Join(disk, "records"))
		fill()
		out, err := g.docker(t, e, 0, "exec", "web", "touch", "/tmp/unrecorded")
		if err == nil || !strings.Contains(out, "sallyport: no recording, no session: ") || !strings.Contains(out, "no space left on device") {
			t.Errorf("%v %s", err, out)
		}
		t.Logf("%s", out)
		if out, err := g.docker(t, e, 0, "run", "--rm", docker.Image, "true"); err == nil {
			t.Errorf("attach: %s", out)
		}
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(e.HostPIDT(t, id)), "root/tmp/unrecorded")); err == nil {
			t.Error("it ran")
		}
		free()
		cut := e.CLI(t.Context(), "exec", "web", "sh", "-c", noise)
		cut.Env = append(cut.Env, "DOCKER_HOST=unix://"+g.socket)
		var stderr bytes.Buffer
		cut.Stderr = &stderr
		seen, err := cut.Output()
		if err == nil || !strings.Contains(stderr.String(), "no recording, no session: ") {
			t.Errorf("%v, %d bytes, %s", err, len(seen), &stderr)
		}
		t.Logf("%s%s", &stderr, g.said())
		if err := g.end(syscall.SIGTERM); err != nil {
			t.Logf("%v", err) // the last word of a recording may be missing
		}
		if out, err := exec.Command("mount", "-o", "remount,size=8m", disk).CombinedOutput(); err != nil {
			t.Fatalf("mount: %v: %s", err, out)
		}
		g = startRecording(t, e, bin, g.dir)
		if out := g.read(t, "verify"); !strings.Contains(out, "the files of 1 recording") {
			t.Errorf("%s", out)
		}
		all := g.list(t, 0)
		if len(all) != 1 || all[0].State != "torn" || all[0].Bytes < 2<<20 {
			t.Fatalf("%+v", all)
		}
		seen = bytes.TrimRight(seen, "\x00") // what ended the last frame
		if taped := g.raw(t, all[0].ID, "stdout"); !strings.HasPrefix(taped, string(seen)) || len(seen) < 2<<20 {
			t.Errorf("%d bytes seen, %d recorded", len(seen), len(taped))
		}
		if out, err := g.docker(t, e, 0, "exec", "web", "echo", "again"); err != nil || out != "again\n" {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("lenient", func(t *testing.T) {
		disk, fill, free := smallDisk(t, "4m")
		g := startRecording(t, e, bin, filepath.Join(disk, "records"), "--recording-mode", "lenient")
		out, err := g.docker(t, e, 0, "exec", "web", "sh", "-c", noise)
		if err != nil || len(out) != 6_000_000 {
			t.Errorf("%v, %d bytes", err, len(out))
		}
		fill()
		if out, err := g.docker(t, e, 0, "exec", "web", "echo", "unrecorded"); err != nil || out != "unrecorded\n" {
			t.Errorf("%v %s", err, out)
		}
		g.await(t, "a session is not recorded")
		free()
		t.Logf("%s", g.read(t, "recordings"))
	})
}
