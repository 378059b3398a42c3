package door_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
)

// standIn is a daemon that knows one container, in which every exec sends back
// what it gets.
func standIn(t testing.TB) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("a", 64)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("GET /containers/{name}/json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Id":%q,"Name":"/box","Image":"sha256:1","Config":{"Image":"box"},"State":{"Running":true,"StartedAt":"2026-01-02T03:04:05Z"}}`, id)
	})
	mux.HandleFunc("GET /exec/{id}/json", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"ID":%q,"ContainerID":%q,"ProcessConfig":{"entrypoint":"cat"}}`, r.PathValue("id"), id)
	})
	mux.HandleFunc("POST /exec/{id}/start", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_, _ = io.Copy(c, buf.Reader)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// standInDoor is a door in front of a stand-in.
func standInDoor(t testing.TB) string {
	t.Helper()
	socket, _ := standInProxy(t)
	return socket
}

// standInProxy returns the door itself, too.
func standInProxy(t testing.TB) (string, *door.Proxy) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "door.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	rules := "version: 1\ndefault: allow\nrules: [{id: any, when: 'session.channel.startsWith(\"DK-\")', effect: allow}]\n"
	p := door.New(door.Options{
		Network: "unix", Address: standIn(t), Judge: guard.New(guard.Options{Rules: load(t, rules), Enforce: true}), Stop: time.Second,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket, p
}

// stream opens a session and sees a byte come back.
func stream(t testing.TB, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request("POST /exec/"+strings.Repeat("b", 64)+"/start", "{}", upgraded, toTCP)); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReaderSize(c, 256)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %+v", err, res)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if b, err := br.ReadByte(); err != nil || b != 'x' {
		t.Fatalf("%c %v", b, err)
	}
	return c
}

// TestTenThousandAborts: of ten thousand sessions that clients give up, no
// descriptor and no goroutine is left, but for connections to the daemon that wait
// to be used again: those are closed here.
func TestTenThousandAborts(t *testing.T) {
	socket, p := standInProxy(t)
	left := func() (files, routines int) {
		p.CloseIdle()
		return openFiles(t), runtime.NumGoroutine()
	}
	var beforeFiles, beforeRoutines int
	eventually(t, func() bool { // what other tests left comes to its end
		files, routines := beforeFiles, beforeRoutines
		beforeFiles, beforeRoutines = left()
		return files == beforeFiles && routines == beforeRoutines
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 500 {
				stream(t, socket).Close()
			}
		})
	}
	wg.Wait()
	var files, routines int
	eventually(t, func() bool {
		files, routines = left()
		return files <= beforeFiles && routines <= beforeRoutines
	})
	if files != beforeFiles || routines != beforeRoutines {
		t.Errorf("descriptors %d before, %d after; goroutines %d, %d", beforeFiles, files, beforeRoutines, routines)
	}
}

// TestIdleSessions measures what a session costs on which nothing passes, client
// and daemon included, and bounds it.
func TestIdleSessions(t *testing.T) {
	if underRace {
		t.Skip("the race detector takes memory of its own")
	}
	socket := standInDoor(t)
	const n = 500
	stream(t, socket).Close()
	before := inUse()
	var open []net.Conn
	for range n {
		open = append(open, stream(t, socket))
	}
	each := (inUse() - before) / n
	for _, c := range open {
		_ = c.Close()
	}
	t.Logf("%d bytes each, with both other ends", each)
	if each > 45<<10 { // 31 kB; 57 kB when the goroutine of net/http stayed
		t.Errorf("an idle session takes %d bytes", each)
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
