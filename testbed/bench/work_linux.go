package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// envStorm makes this program a generator of execs, also inside a container:
// its value is how many, and how many a second (0: as fast as it goes).
const envStorm = "SALLYPORT_BENCH_STORM"

// stormMain runs as a generator when it was started as one, and does not
// return then.
func stormMain() {
	v := os.Getenv(envStorm)
	if v == "" {
		return
	}
	var n, rate int
	if _, err := fmt.Sscan(v, &n, &rate); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
	took, err := execStorm(n, rate)
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
	fmt.Println(took.Nanoseconds())
	os.Exit(0)
}

// stormArgv is what a storm executes: a small static program.
var stormArgv = []string{"/bin/busybox", "true"}

// execStorm forks and executes n programs, two at a time, at most rate a second.
func execStorm(n, rate int) (time.Duration, error) {
	const workers = 2
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			runtime.LockOSThread()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if rate > 0 {
					time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				}
				if err := spawn(&syscall.ProcAttr{}); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

// spawn runs stormArgv and waits for it.
func spawn(attr *syscall.ProcAttr) error {
	attr.Files = []uintptr{0, 1, 2}
	pid, err := syscall.ForkExec(stormArgv[0], stormArgv, attr)
	if err != nil {
		return fmt.Errorf("run %s: %w", stormArgv[0], err)
	}
	for {
		var st syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &st, 0, nil); err != syscall.EINTR {
			return err
		}
	}
}

// syscalls makes n cheap system calls: what it takes is what anything that
// hooks every system call would add to.
func syscalls(n int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for range n {
		syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	}
	return time.Since(start), nil
}

// pingPong sends 64 bytes there and back n times over a pair of blocking
// sockets, each end on a thread of its own.
func pingPong(n int, pair func() ([2]int, error)) (time.Duration, error) {
	fds, err := pair()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		buf := make([]byte, 64)
		for range n {
			if err := exchange(fds[1], buf, unix.Read, unix.Write); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 64)
	start := time.Now()
	for range n {
		if err := exchange(fds[0], buf, unix.Write, unix.Read); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	return took, <-done
}

func exchange(fd int, buf []byte, ops ...func(int, []byte) (int, error)) error {
	for _, op := range ops {
		if n, err := op(fd, buf); err != nil || n != len(buf) {
			return fmt.Errorf("ping-pong: %d bytes: %w", n, err)
		}
	}
	return nil
}

func unixPair() ([2]int, error) { return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0) }

// tcpPair returns two connected TCP sockets on loopback.
func tcpPair() (fds [2]int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return fds, err
	}
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fds, err
	}
	if err := unix.Listen(l, 1); err != nil {
		return fds, err
	}
	addr, err := unix.Getsockname(l)
	if err != nil {
		return fds, err
	}
	if fds[0], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return fds, err
	}
	if err := unix.Connect(fds[0], addr); err != nil {
		return fds, err
	}
	if fds[1], _, err = unix.Accept(l); err != nil {
		return fds, err
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// compileSource is small, so that starting compilers weighs as much as in a
// build of many small files.
const compileSource = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int cmp(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
int main(int argc, char **argv) { qsort(argv, argc, sizeof *argv, cmp); for (int i = 0; i < argc; i++) puts(argv[i]); return 0; }
`

// compile compiles and links n small C programs, two at a time, through a
// shell, as make does.
func compile(ctx context.Context, n int) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "sp-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "x.c"), []byte(compileSource), 0o644); err != nil {
		return 0, err
	}
	script := `seq ` + strconv.Itoa(n) + ` | xargs -P2 -I{} sh -c 'clang-14 -O1 -c -o {}.o x.c && rm {}.o'`
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
	cmd.Dir = dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("compile: %w: %s", err, out)
	}
	return time.Since(start), nil
}
