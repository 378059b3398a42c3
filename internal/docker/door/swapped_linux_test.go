package door_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed/docker"
)

// approver is a doorway where a second person is needed for what starts.
type approver struct {
	*doorway
	t *testing.T
	guard.Person
}

func openApprover(t *testing.T, e *docker.Engine) *approver {
	uid := uint32(1001)
	d := open(t, e, `
version: 1
default: allow
rules:
  - {id: two, when: 'session.kind == "start"', effect: approve, severity: high}
`, func(o *door.Options, g *guard.Options) {
		g.Approvers, g.Wait = guard.Approvers{UIDs: []uint32{uid}}, time.Minute
		o.Real = func(path string) string {
			real, _ := filepath.EvalSymlinks(path)
			return real
		}
	})
	return &approver{d, t, guard.Person{Actor: session.Actor{Kind: session.ActorUnix, UID: &uid, Exe: "/usr/bin/sallyport"}}}
}

// looks returns the one request that waits, once it does.
func (a *approver) looks() (r guard.Record) {
	a.t.Helper()
	eventually(a.t, func() bool {
		list, err := a.judge.Approvals(a.Person)
		if err != nil {
			a.t.Fatal(err)
		}
		if len(list) == 1 {
			r = list[0]
		}
		return len(list) == 1
	})
	return r
}

func (a *approver) approves(r guard.Record) {
	a.t.Helper()
	if _, err := a.judge.Approve(string(r.Approval.ID), a.Person, guard.Answer{}); err != nil {
		a.t.Fatal(err)
	}
}

// TestSwapped: whoever exchanges what he asked for while a second person looks at
// it has to ask again before it runs.
func TestSwapped(t *testing.T) {
	e := docker.Shared(t)
	a := openApprover(t, e)
	dir, link, volume := t.TempDir(), filepath.Join(t.TempDir(), "link"), "door-swapped"
	plain, other := filepath.Join(dir, "plain"), filepath.Join(dir, "other")
	for _, dir := range []string{plain, other} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(args ...string) {
		t.Helper()
		if out, err := e.CLI(context.Background(), args...).CombinedOutput(); err != nil {
			t.Fatalf("docker %s: %v %s", strings.Join(args, " "), err, out)
		}
	}
	linkTo := func(dir string) {
		_ = os.Remove(link)
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
	}
	volumeOf := func(dir string) {
		raw("volume", "rm", "-f", volume)
		raw("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device="+dir, volume)
	}
	linkTo(plain)
	volumeOf(plain)
	t.Cleanup(func() { raw("volume", "rm", "-f", volume) })
	for name, swap := range map[string]func(to string){"nothing": nil, "the link": linkTo, "the volume": volumeOf} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		run := e.CLI(ctx, "run", "--rm", "-v", volume+":/a", "-v", link+":/b", docker.Image, "/bin/true")
		run.Env = append(run.Env, "DOCKER_HOST=unix://"+a.socket)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		first := a.looks()
		if swap == nil {
			a.approves(first)
		} else {
			swap(other)
			a.approves(first)
			again := a.looks()
			if has(first, other) || !has(again, other) {
				t.Errorf("%s: first %+v, then %+v", name, first.Request.Target.HostAccess, again.Request.Target.HostAccess)
			}
			a.approves(again)
		}
		if err := run.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if swap != nil {
			swap(plain)
		}
	}
}

func has(r guard.Record, path string) bool {
	return strings.Contains(strings.Join(r.Request.Target.HostAccess.Paths, " "), path)
}
