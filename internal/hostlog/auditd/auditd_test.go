package auditd_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/auditd"
	"github.com/sallyport/sallyport/internal/lib/logfile"
)

// world is runc and a command below it, whose EXECVE records are given.
func world(execve ...string) string {
	call := func(serial, ppid, pid int, comm, exe string) string {
		return fmt.Sprintf("type=SYSCALL msg=audit(1795600801.100:%d): arch=c000003e syscall=59 success=yes exit=0 ppid=%d pid=%d auid=4294967295 uid=0 gid=0 tty=(none) ses=4294967295 comm=%q exe=%q key=(null)\n", serial, ppid, pid, comm, exe)
	}
	log := call(1, 10, 20, "runc", "/usr/bin/runc") + "type=EXECVE msg=audit(1795600801.100:1): argc=3 a0=\"runc\" a1=\"exec\" a2=\"c\"\n"
	log += call(2, 20, 21, "sh", "/bin/sh")
	for _, e := range execve {
		log += "type=EXECVE msg=audit(1795600801.100:2): " + e + "\n"
	}
	return log
}

func TestArguments(t *testing.T) {
	for _, tc := range []struct {
		name    string
		execve  []string
		want    []string
		cut     bool
		refused int
	}{
		{"quoted", []string{`argc=2 a0="sh" a1="-i"`}, []string{"sh", "-i"}, false, 0},
		{"hexadecimal", []string{`argc=2 a0="sh" a1=2D6320FF`}, []string{"sh", "-c \xff"}, false, 0},
		{"empty", []string{`argc=2 a0="sh" a1=""`}, []string{"sh", ""}, false, 0},
		{"in pieces", []string{`argc=2 a0="sh" a1_len=6 a1[0]=6162`, `a1[1]=63`}, []string{"sh", "abc"}, false, 0},
		{"in several records", []string{`argc=3 a0="sh" a1="x"`, `a2="y"`}, []string{"sh", "x", "y"}, false, 0},
		{"one record lost", []string{`argc=3 a0="sh" a1="x"`}, []string{"sh", "x"}, true, 0},
		{"out of order", []string{`argc=3 a0="sh" a2="x"`}, nil, true, 1},
		{"no string", []string{`argc=2 a0="sh" a1=xyz`}, nil, true, 1},
		{"not closed", []string{`argc=2 a0="sh" a1="x`}, nil, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, refused := story.Feed(t, auditd.New(), []byte(world(tc.execve...)))
			var got *event.ProcessExec
			for _, o := range out {
				if o, ok := o.(event.ProcessExec); ok {
					got = &o
				}
			}
			if got == nil || !slices.Equal(got.Argv.Args, tc.want) || got.Argv.Truncated != tc.cut || refused != tc.refused {
				t.Errorf("%+v, %d refused; want %q", got, refused, tc.want)
			}
			if got != nil && (got.Container != "c" || got.Cred.LoginUID != nil) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestInterleaved: the records of events come mixed, and a process is reported
// after its parent all the same.
func TestInterleaved(t *testing.T) {
	l := strings.SplitAfter(world(`argc=1 a0="id"`), "\n")
	for _, order := range [][]int{{0, 1, 2, 3}, {0, 2, 1, 3}, {2, 0, 3, 1}} {
		log := ""
		for _, i := range order {
			log += l[i]
		}
		out, refused := story.Feed(t, auditd.New(), []byte(log))
		if refused > 0 || len(out) != 3 || event.Name(out[1]) != "session_entry" || event.Name(out[2]) != "process_exec" {
			t.Errorf("order %v: %d refused, %+v", order, refused, out)
		}
	}
}

func TestInterpretedIsRefused(t *testing.T) {
	for _, line := range []string{
		`type=SYSCALL msg=audit(11/23/26 12:00:00.100:12) : arch=x86_64 syscall=execve success=yes`,
		`node=a type=EXECVE msg=audit(2026-11-23 12:00:00.100:12) : argc=1 a0=ls`,
	} {
		if _, err := auditd.New().Record([]byte(line)); !errors.Is(err, logfile.ErrRefused) || !auditd.Sniff([]byte(line)) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := auditd.New().Record([]byte("type=SYSCALL")); err == nil || errors.Is(err, logfile.ErrRefused) {
		t.Errorf("no record: %v", err)
	}
}
