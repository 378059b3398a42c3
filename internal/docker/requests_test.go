package docker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// turn is one thing said on a connection: by the client, or by the daemon.
type turn struct {
	daemon bool
	text   string
}

func ask(text string) turn    { return turn{text: text} }
func answer(text string) turn { return turn{daemon: true, text: text} }

// head makes a request of a line and a JSON body.
func post(path, body string) turn {
	return ask(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: docker\r\nUser-Agent: test/1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body))
}

func created(id string) turn {
	body := fmt.Sprintf(`{"Id":%q}`, id) + "\n"
	return answer(fmt.Sprintf("HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

const (
	execID   = "e7f3a1e0c0ffee00e7f3a1e0c0ffee00e7f3a1e0c0ffee00e7f3a1e0c0ffee00"
	upgraded = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	noExec   = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"
)

// wire turns what was said into the pieces that a sensor samples: cut says how
// long the next piece is, sample how many bytes of a piece are kept.
func wire(turns []turn, cut func(left int) int, sample int) []event.Segment {
	var out []event.Segment
	var offset [2]uint64
	at := time.Unix(1000, 0).UTC()
	for _, tn := range turns {
		dir := 0
		if tn.daemon {
			dir = 1
		}
		for text := tn.text; text != ""; {
			n := cut(len(text))
			at = at.Add(time.Millisecond)
			out = append(out, event.Segment{
				Head: event.Header{Time: at, Witness: event.WitnessKernel}, Conn: 7, Service: event.ServiceDocker,
				Peer: event.Peer{ID: event.ProcessID{PID: 42, Start: 1}, Comm: "docker"},
				Sent: tn.daemon, Offset: offset[dir], Whole: true,
				Length: uint32(n), Data: []byte(text[:min(n, sample)]),
			})
			offset[dir] += uint64(n)
			text = text[n:]
		}
	}
	return out
}

func uncut(left int) int { return left }

// read runs segs through a parser and returns one line for each observation.
func read(t testing.TB, segs []event.Segment) []string {
	t.Helper()
	r := NewRequests(RequestOptions{})
	var out []string
	for _, s := range segs {
		for _, o := range r.Segment(s) {
			out = append(out, line(o))
		}
	}
	r.Forget(7)
	if r.memory.Held() != 0 {
		t.Errorf("%d bytes are still held after the connection was forgotten", r.memory.Held())
	}
	return out
}

func line(o event.Observation) string {
	switch o := o.(type) {
	case event.DockerRequest:
		s := fmt.Sprintf("%d %s", o.ID.N, o.Op)
		for _, f := range []struct{ name, value string }{{"ref", o.Ref}, {"exec", string(o.ExecID)}, {"path", string(o.Path)}, {"user", o.User}} {
			if f.value != "" {
				s += " " + f.name + "=" + f.value
			}
		}
		if o.Argv != nil {
			s += fmt.Sprintf(" argv=%q", o.Argv)
		}
		for _, f := range []struct {
			name string
			set  bool
		}{{"tty", o.TTY}, {"detach", o.Detach}, {"stdin", o.Stdin}, {"privileged", o.Privileged}, {"uncertain", !o.Certain}} {
			if f.set {
				s += " " + f.name
			}
		}
		return s
	case event.DockerAnswer:
		return strings.TrimSpace(fmt.Sprintf("%d %s -> %d %s", o.ID.N, o.Op, o.Status, o.Created))
	}
	return fmt.Sprintf("%T", o)
}

var conversations = []struct {
	name  string
	turns []turn
	want  []string
}{{
	name: "exec",
	turns: []turn{
		ask("HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"), answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
		post("/v1.41/containers/web/exec", `{"Cmd":["sh","-c","echo a b"],"Tty":true,"AttachStdin":true,"User":"nobody","Privileged":true}`),
		created(execID),
		post("/v1.41/exec/"+execID+"/start", `{"Detach":false,"Tty":true}`),
		answer(upgraded), answer("$ "),
		ask("POST /v1.41/containers/web/exec HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"), answer("HTTP/1.1 201 Created\r\n\r\n"),
	},
	want: []string{
		`1 exec_create ref=web user=nobody argv=["sh" "-c" "echo a b"] tty stdin privileged`,
		"1 exec_create -> 201 " + execID,
		"2 exec_start exec=" + execID + " tty",
		"2 exec_start -> 101",
	},
}, {
	name: "a failing start goes on",
	turns: []turn{
		post("/exec/"+execID+"/start", `{}`), answer(noExec),
		post("/exec/"+execID+"/start", `{"detach":true}`), answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		post("/containers/x/start", ""), answer("HTTP/1.1 204 No Content\r\n\r\n"),
	},
	want: []string{
		"0 exec_start exec=" + execID, "0 exec_start -> 404",
		"1 exec_start exec=" + execID + " detach", "1 exec_start -> 200",
		"2 container_start ref=x", "2 container_start -> 204",
	},
}, {
	name: "what comes before the answer is held back: input",
	turns: []turn{
		post("/exec/a/start", `{}`), ask("POST /exec/b/start HTTP/1.1\r\nHost: x\r\n\r\n"), answer(upgraded),
	},
	want: []string{"0 exec_start exec=a", "0 exec_start -> 101"},
}, {
	name: "what comes before the answer is held back: a request",
	turns: []turn{
		post("/exec/a/start", `{}`), post("/exec/b/start", `{}`), answer(noExec), answer(noExec),
	},
	want: []string{"0 exec_start exec=a", "0 exec_start -> 404", "1 exec_start exec=b", "1 exec_start -> 404"},
}, {
	name: "the raw stream of old clients",
	turns: []turn{
		post("/exec/a/start", `{}`), answer("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"),
		post("/exec/b/start", `{}`), answer(noExec),
	},
	want: []string{"0 exec_start exec=a", "0 exec_start -> 200"},
}, {
	name: "body that looks like a request",
	turns: []turn{
		post("/containers/web/exec", `{"Cmd":["POST /exec/b/start HTTP/1.1\r\nHost: x\r\n\r\n"]}`), created(execID),
		ask("PUT /v1.41/containers/web/archive?path=%2Fetc%2Fa%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" +
			"POST /exec/b/start HTTP/1.1\r\nHost: x\r\n\r\n"),
		answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		ask("GET /containers/web/archive?path=/etc HTTP/1.1\r\nHost: x\r\n\r\n"), answer(noExec),
	},
	want: []string{
		`0 exec_create ref=web argv=["POST /exec/b/start HTTP/1.1\r\nHost: x\r\n\r\n"]`, "0 exec_create -> 201 " + execID,
		"1 copy_in ref=web path=/etc/a b", "1 copy_in -> 200",
		"2 copy_out ref=web path=/etc", "2 copy_out -> 404",
	},
}, {
	name: "chunked bodies both ways",
	turns: []turn{
		ask("POST /containers/create?name=n HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"1a;x=y\r\n{\"Entrypoint\":[\"a\"],\"cmd\":\r\n4\r\n\"b\"}\r\n0\r\nTrailer: x\r\n\r\n"),
		answer("HTTP/1.1 100 Continue\r\n\r\n"),
		answer("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"Id\"\r\n5\r\n:\"c\"}\r\n0\r\n\r\n"),
		post("/containers/c/start", ""), answer("HTTP/1.1 204 No Content\r\n\r\n"),
	},
	want: []string{`0 container_create ref=n argv=["a" "b"]`, "0 container_create -> 201 c", "1 container_start ref=c", "1 container_start -> 204"},
}, {
	name: "reads are followed, not told",
	turns: []turn{
		ask("GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\nGET /info HTTP/1.1\nHost: x\n\n"),
		answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"), answer(noExec),
		post("/images/create", ""), answer(noExec),
	},
	want: []string{"2 other", "2 other -> 404"},
}, {
	name: "attach",
	turns: []turn{
		post("/v1.24/containers/a%2Fb/attach?stdin=1&stream=1", ""), answer(upgraded), ask("ls\n"),
	},
	want: []string{"0 attach ref=a/b stdin", "0 attach -> 101"},
}, {
	name: "attach by websocket",
	turns: []turn{
		ask("GET /containers/a/attach/ws?stdin=0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"), answer(upgraded), ask("\x81\x02ls"),
	},
	want: []string{"0 attach ref=a", "0 attach -> 101"},
}, {
	name: "podman",
	turns: []turn{
		post("/v4.3.1/libpod/containers/create", `{"name":"n","entrypoint":["a"],"command":["b"],"terminal":true}`), created("c"),
		post("/v4.3.1/libpod/containers/n/exec", `{"Cmd":"ls"}`), created("e"),
		post("/v4.3.1/libpod/exec/e/start", `{"Detach":true}`), answer(noExec),
	},
	want: []string{
		`0 container_create ref=n argv=["a" "b"] tty`, "0 container_create -> 201 c",
		`1 exec_create ref=n argv=["ls"]`, "1 exec_create -> 201 e",
		"2 exec_start exec=e detach", "2 exec_start -> 404",
	},
}, {
	name: "the decoder's rules: case, last duplicate, invalid UTF-8, what follows the value",
	turns: []turn{
		post("/containers/a/exec", "{\"Cmd\":[\"x\"],\"cMD\":[\"y\",\"\xff\"],\"TTY\":true} {\"Cmd\":[\"z\"]}"), created("e"),
		post("/containers/a/exec", `{"Cmd":["x"`), answer(noExec),
	},
	want: []string{`0 exec_create ref=a argv=["y" "�"] tty`, "0 exec_create -> 201 e", "1 exec_create ref=a", "1 exec_create -> 404"},
}, {
	name: "line ends behind a POST",
	turns: []turn{
		post("/containers/a/start", ""), ask("\r\n"), answer(noExec), post("/containers/b/start", ""), answer(noExec),
	},
	want: []string{"0 container_start ref=a", "0 container_start -> 404", "1 container_start ref=b", "1 container_start -> 404"},
}, {
	name: "an unclean path is redirected, not executed",
	turns: []turn{
		post("/containers//a/exec", `{"Cmd":["x"]}`), answer("HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\n\r\n"),
	},
	want: []string{"0 other", "0 other -> 301"},
}, {
	name: "HTTP/2 by prior knowledge makes blind",
	turns: []turn{
		ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), answer("\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
	},
	want: []string{"0 other uncertain"},
}, {
	name: "an upgrade to something unknown makes blind, BuildKit's does not",
	turns: []turn{
		ask("GET /_ping HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"), answer(upgraded), ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	},
	want: []string{"1 other uncertain"},
}, {
	name: "BuildKit",
	turns: []turn{
		ask("POST /session HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"), answer(upgraded), ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	},
	want: []string{"0 other", "0 other -> 101"},
}}

func TestRequests(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, read(t, wire(c.turns, uncut, 1<<20))); diff != "" {
				t.Errorf("uncut (-want +got):\n%s", diff)
			}
			one := func(int) int { return 1 }
			if diff := cmp.Diff(c.want, read(t, wire(c.turns, one, 1<<20))); diff != "" {
				t.Errorf("byte by byte (-want +got):\n%s", diff)
			}
			for seed := range uint64(200) {
				rng := rand.New(rand.NewPCG(seed, 0))
				cut := func(left int) int { return 1 + rng.IntN(left) }
				if diff := cmp.Diff(c.want, read(t, wire(c.turns, cut, 1<<20))); diff != "" {
					t.Fatalf("split %d (-want +got):\n%s", seed, diff)
				}
			}
		})
	}
}

func TestRequestsSampled(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	turns := []turn{
		ask("PUT /containers/a/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: 102400\r\n\r\n" + big), answer(noExec),
		post("/containers/a/exec", `{"Cmd":["`+big+`"]}`), created("e"),
		post("/containers/a/exec", `{"Cmd":["`+big[:3000]+`"]}`), created("f"),
		ask("GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n"),
		answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n19000\r\n" + big + "\r\n0\r\n\r\n"),
		post("/containers/a/exec", `{"Cmd":["ls"]}`), created("g"),
		post("/exec/g/start", `{}`), answer(upgraded), ask(big),
	}
	want := []string{
		"0 copy_in ref=a path=/", "0 copy_in -> 404",
		"1 exec_create ref=a", "1 exec_create -> 201 e",
		"2 exec_create ref=a", "2 exec_create -> 201 f",
		`4 exec_create ref=a argv=["ls"]`, "4 exec_create -> 201 g",
		"5 exec_start exec=g", "5 exec_start -> 101",
	}
	r := read(t, wire(turns, func(left int) int { return min(left, 4096) }, 1024))
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRequestsGaps(t *testing.T) {
	turns := []turn{
		post("/containers/a/exec", `{"Cmd":["ls"]}`), created("e"),
		post("/containers/b/exec", `{"Cmd":["ls"]}`), created("f"),
		post("/containers/c/exec", `{"Cmd":["ls"]}`), created("g"),
	}
	segs := wire(turns, uncut, 1<<20)
	for _, c := range []struct {
		name string
		segs []event.Segment
		want []string
	}{{
		"a request is missing", slices.Delete(slices.Clone(segs), 2, 3),
		[]string{
			`0 exec_create ref=a argv=["ls"]`, "0 exec_create -> 201 e", "1 other uncertain",
			`2 exec_create ref=c argv=["ls"] uncertain`,
		},
	}, {
		"an answer is missing", slices.Delete(slices.Clone(segs), 3, 4),
		[]string{
			`0 exec_create ref=a argv=["ls"]`, "0 exec_create -> 201 e", `1 exec_create ref=b argv=["ls"]`,
			`2 exec_create ref=c argv=["ls"]`,
		},
	}, {
		"the beginning is missing", segs[2:],
		[]string{
			"0 other uncertain", `1 exec_create ref=b argv=["ls"] uncertain`, `2 exec_create ref=c argv=["ls"] uncertain`,
		},
	}, {
		"answers come after the next request", []event.Segment{segs[0], segs[2], segs[1], segs[4], segs[3], segs[5]},
		[]string{
			`0 exec_create ref=a argv=["ls"]`, `1 exec_create ref=b argv=["ls"]`, "0 exec_create -> 201 e",
			`2 exec_create ref=c argv=["ls"]`, "1 exec_create -> 201 f", "2 exec_create -> 201 g",
		},
	}, {
		"pieces twice", slices.Concat(segs[:3], segs[1:]),
		[]string{
			`0 exec_create ref=a argv=["ls"]`, "0 exec_create -> 201 e", `1 exec_create ref=b argv=["ls"]`, "1 exec_create -> 201 f",
			`2 exec_create ref=c argv=["ls"]`, "2 exec_create -> 201 g",
		},
	}} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, read(t, c.segs)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An answer of which too little is sampled, and whose last pieces are told
// after the next request, does not keep that one from its own answer.
func TestRequestsLateTail(t *testing.T) {
	segs := wire([]turn{
		ask("GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n"),
		answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("x", 2048) + "\r\n"),
		answer("800\r\n" + strings.Repeat("y", 2048) + "\r\n0\r\n\r\n"),
		post("/containers/a/exec", `{"Cmd":["ls"]}`), created("e"),
		post("/containers/b/exec", `{"Cmd":["ls"]}`), created("f"),
	}, uncut, 1024)
	segs[2], segs[3] = segs[3], segs[2]
	want := []string{
		`1 exec_create ref=a argv=["ls"]`, "1 exec_create -> 201 e",
		`2 exec_create ref=b argv=["ls"]`, "2 exec_create -> 201 f",
	}
	if diff := cmp.Diff(want, read(t, segs)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The end of a long answer is not sampled at all, as the kernel sensor does it.
func TestRequestsUnsampledTail(t *testing.T) {
	segs := wire([]turn{
		ask("GET /containers/web/json HTTP/1.1\r\nHost: x\r\n\r\n"),
		answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1800\r\n" + strings.Repeat("x", 0x1800) + "\r\n0\r\n\r\n"),
		post("/containers/web/exec", `{"Cmd":["ls"]}`), created("e"),
	}, func(left int) int { return min(left, 4096) }, 1024)
	want := []string{`1 exec_create ref=web argv=["ls"]`, "1 exec_create -> 201 e"}
	if diff := cmp.Diff(want, read(t, slices.Delete(segs, 2, 3))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
