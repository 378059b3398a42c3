//go:build linux

package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
	"github.com/sallyport/sallyport/testbed/kube"
)

// envChild makes TestKilled the program that is killed.
const envChild = "SALLYPORT_KUBE_CHILD"

// TestStopLeavesNothing stops a cluster with a pod in it.
func TestStopLeavesNothing(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	before := settings(t)
	c, err := kube.Start(t.Context(), kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.RunPodT(t, "default", "web", "")
	if got := traces(t, c.Dir); len(got) < 20 {
		t.Errorf("traces of a running cluster are looked for in the wrong places: %q", got)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if got := traces(t, c.Dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if after := settings(t); after != before {
		t.Errorf("settings before %q, after %q", before, after)
	}
}

// TestKilled kills a program that has a cluster with a pod in it, and cleans up
// as the next Start does.
func TestKilled(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	if os.Getenv(envChild) != "" {
		child(t)
		return
	}
	before := settings(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), envChild+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, _ := bufio.NewReader(out).ReadString('\n')
	dir = strings.TrimSpace(dir)
	cmd.Process.Kill()
	cmd.Wait()
	if got := traces(t, dir); len(got) < 20 {
		t.Errorf("%s is not a cluster that was left behind: %q", dir, got)
	}
	daemon.Sweep(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if got := traces(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if after := settings(t); after != before {
		t.Errorf("settings before %q, after %q", before, after)
	}
}

// child starts a cluster, says where it is and waits to be killed.
func child(t *testing.T) {
	c, err := kube.Start(t.Context(), kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.RunPodT(t, "default", "web", "")
	fmt.Println(c.Dir)
	<-time.After(time.Minute)
	c.Stop() // nobody killed it
}

// TestStartInterrupted cancels a start at its middle.
func TestStartInterrupted(t *testing.T) {
	testbed.Require(t, testbed.Kube)
	before, _ := filepath.Glob(os.TempDir() + "/sp-kube-*")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if c, err := kube.Start(ctx, kube.Options{}); err == nil {
		c.Stop()
		t.Skip("the start was faster")
	} else if left, _ := filepath.Glob(os.TempDir() + "/sp-kube-*"); len(left) > len(before) {
		t.Errorf("left: %q", left)
	}
}

// traces finds what names a cluster: processes, mounts, cgroups, files, links
// to logs, results of network plugins.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	name := filepath.Base(dir)
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/cgroup", "/proc/self/mountinfo"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(name)) {
				found = append(found, f)
			}
		}
	}
	links, _ := filepath.Glob("/var/log/containers/*")
	for _, l := range links {
		if to, _ := os.Readlink(l); strings.Contains(to, name) {
			found = append(found, l)
		}
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name, "/var/lib/cni/results/" + name + "*", dir,
	} {
		paths, _ := filepath.Glob(pattern)
		found = append(found, paths...)
	}
	return found
}

// settings are what a kubelet changes for the whole machine.
func settings(t *testing.T) string {
	t.Helper()
	out, err := testbed.Output(exec.Command("cat", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
