package docker

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestNoNewPrivilegesOfOldDaemons holds that a daemon that would not name the option
// is not taken for one that has it off.
func TestNoNewPrivilegesOfOldDaemons(t *testing.T) {
	for _, c := range []struct {
		version string
		options []string
		want    inventory.Answer
	}{
		{"20.10.24+dfsg1", nil, inventory.Unknown},
		{"23.0.6", nil, inventory.Unknown},
		{"23.0.6", []string{"name=no-new-privileges"}, inventory.Yes},
		{"24.0.7", nil, inventory.No},
		{"28.1.1", []string{"name=seccomp,profile=builtin", "name=no-new-privileges"}, inventory.Yes},
		{"dev", nil, inventory.Unknown},
	} {
		var d inventory.Docker
		i := infoJSON{ServerVersion: c.version, SecurityOptions: c.options}
		if i.tell(&d); d.NoNewPrivs != c.want {
			t.Errorf("%s %q: %s, want %s", c.version, c.options, d.NoNewPrivs, c.want)
		}
	}
}

// serve is a daemon that gives these answers, by path without the version, and one of
// the status failing to all others. It returns its address, and counts connections.
func serve(t *testing.T, answers map[string]string, failing int, connections *atomic.Int64) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "d.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.45")
			text, ok := answers[strings.TrimPrefix(r.URL.Path, "/v1.45")]
			if !ok {
				w.WriteHeader(failing)
				text = `{"message":"no"}`
			}
			_, _ = w.Write([]byte(text))
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew && connections != nil {
				connections.Add(1)
			}
		},
	}}
	s.Start()
	t.Cleanup(s.Close)
	return "unix://" + l.Addr().String()
}

// TestOneConnection: a question that is refused, or about what has ended, costs no
// connection.
func TestOneConnection(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusInternalServerError} {
		var connections atomic.Int64
		d, err := dial(serve(t, map[string]string{"/_ping": "OK"}, status, &connections))
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		if err := d.agree(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := connections.Load()
		for range 5 {
			if err := d.get(t.Context(), "/containers/x/json", new(any)); err == nil || errors.Is(err, errGone) != (status == http.StatusNotFound) {
				t.Fatal(err)
			}
		}
		if n := connections.Load() - before; n != 1 {
			t.Errorf("%d connections for five answers of status %d", n, status)
		}
	}
}

// TestLookWithoutInfo: a daemon that says nothing of itself still tells of its containers, and
// nothing is known of what is in effect.
func TestLookWithoutInfo(t *testing.T) {
	got, err := Look(t.Context(), serve(t, map[string]string{
		"/_ping": "OK", "/volumes": `{}`, "/containers/json": `[{"Id":"c1"}]`, "/containers/c1/json": `{"Id":"c1","Name":"/box"}`,
	}, http.StatusInternalServerError, nil))
	if err != nil || len(got.Running) != 1 || got.Running[0].Name != "box" || got.Running[0].Escalation != inventory.Unknown || got.Running[0].HostUsers != inventory.Unknown {
		t.Fatalf("%+v, %v", got, err)
	}
	if d := got.Docker; d.Version != "" || d.Seccomp != "" || d.LiveRestore != inventory.Unknown {
		t.Errorf("%+v", d)
	}
	if len(got.Unread) != 1 || got.Unread[0].What != inventory.PartDaemon {
		t.Errorf("%+v", got.Unread)
	}
}

// TestLookWithoutVolumes: a daemon that does not list its volumes, as when a driver
// hangs, still tells of its containers.
func TestLookWithoutVolumes(t *testing.T) {
	got, err := Look(t.Context(), serve(t, map[string]string{
		"/_ping": "OK", "/info": `{"ServerVersion":"28.1.1"}`, "/containers/json": `[{"Id":"c1"}]`, "/containers/c1/json": `{"Id":"c1","Name":"/box"}`,
	}, http.StatusInternalServerError, nil))
	if err != nil || len(got.Running) != 1 || got.Running[0].Name != "box" {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(got.Unread) != 1 || got.Unread[0].What != inventory.PartContainers || !strings.Contains(got.Unread[0].Why, "volumes") {
		t.Errorf("%+v", got.Unread)
	}
}
