package door

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/containerd/door/call"
	"github.com/sallyport/sallyport/internal/core/event"
)

// TestOverlay: an exec without a process file runs as the container does, but for what
// its command line says.
func TestOverlay(t *testing.T) {
	q := &call.Question{
		Line:   call.Line{Verb: call.Exec, Container: "c", Argv: []string{"sh"}, User: "7:8", Env: []string{"C=d"}},
		Config: json.RawMessage(`{"process":{"args":["sleep"],"env":["A=b"],"cwd":"/srv","user":{"uid":3}}}`),
	}
	b, err := beginningOf(q, byHand)
	if err != nil {
		t.Fatal(err)
	}
	if p := b.process; !slices.Equal(p.Args, []string{"sh"}) || !slices.Equal(p.Env, []string{"A=b", "C=d"}) || p.Cwd != "/srv" || p.User.UID != 7 || b.own.User.UID != 3 {
		t.Errorf("%+v", b)
	}
	q.Line.User = "root"
	if _, err := beginningOf(q, byHand); err == nil {
		t.Error("a user's name is the container's to read")
	}
}

// TestWithMore: an exec's own capabilities count, also where the container's are not
// known.
func TestWithMore(t *testing.T) {
	plain := &event.HostAccess{Paths: []string{"/srv"}}
	if got := withMore(plain, []string{"CAP_CHOWN"}); got != plain {
		t.Errorf("%+v", got)
	}
	if got := withMore(plain, []string{"CAP_SYS_ADMIN"}); !slices.Equal(got.Capabilities, []string{"SYS_ADMIN"}) || got.Partial || len(got.Paths) != 1 {
		t.Errorf("%+v", got)
	}
	if got := withMore(nil, []string{"CAP_SYS_ADMIN"}); !got.Partial {
		t.Errorf("%+v", got)
	}
}

// FuzzBegins: of what begins there is a command, whatever the files say.
func FuzzBegins(f *testing.F) {
	f.Add("exec", "/run/runc/moby", []byte(`{"args":["sh"],"user":{"uid":0}}`), []byte(`{"process":{"args":["sleep"]}}`))
	f.Add("create", "/r", []byte(nil), []byte(`{"process":{"args":["sleep"],"env":["LD_PRELOAD=/x"]},"linux":{}}`))
	f.Fuzz(func(t *testing.T, verb, root string, process, config []byte) {
		q := &call.Question{Line: call.Line{Verb: call.Verb(verb), Container: "c", Root: root, Process: "p"}, Config: config}
		if len(process) > 0 {
			q.Process = process
		}
		b, err := beginningOf(q, byContainerd)
		if err == nil && len(b.process.Args) == 0 {
			t.Errorf("%+v", b)
		}
	})
}
