package door_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed/docker"
)

// strict denies one command wherever it may stand, and what gives the host away.
const strict = `
version: 1
default: allow
rules:
  - {id: no-command, when: 'session.argv.exists(a, a.contains("FORBIDDEN"))', effect: deny, severity: high, message: not this one}
  - {id: no-carried, when: 'session.carried.exists(c, c.argv.exists(a, a.contains("FORBIDDEN")))', effect: deny, severity: high}
  - {id: no-privileged, when: 'session.privileged || session.target.host_access.privileged', effect: deny, severity: high}
  - {id: no-host, when: 'session.target.host_access.paths.exists(p, p == "/" || p.startsWith("/etc"))', effect: deny, severity: high}
  - {id: no-pids, when: '"pid" in session.target.host_access.namespaces', effect: deny, severity: high}
`

// arena is a container in which something may come to run, and a way to the
// daemon: the door, or its socket directly.
type arena struct {
	t         *testing.T
	e         *docker.Engine
	socket    string
	container string // full id
	name      string
	link      string // a symbolic link on the host that leads to /etc
	pid       int    // of its first process
	answers   strings.Builder
}

// raw sends bytes on one connection and returns everything that comes back until
// it ends or falls silent.
func (a *arena) raw(bytes string) string {
	a.t.Helper()
	c, err := net.Dial("unix", a.socket)
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	bytes = strings.NewReplacer("{C}", a.container, "{S}", a.container[:12], "{N}", a.name, "{LINK}", a.link).Replace(bytes)
	go func() { _, _ = io.WriteString(c, bytes) }()
	var all strings.Builder
	buf := make([]byte, 64<<10)
	for wait := 10 * time.Second; ; wait = 250 * time.Millisecond {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break
		}
	}
	a.answers.WriteString(all.String())
	return all.String()
}

// http2 sends one request by HTTP/2 without TLS, as clients do that know that the
// daemon speaks it: those of 29 do, and of 20.10 do not.
func (a *arena) http2(method, path, body string, headers ...string) (*http.Response, error) {
	a.t.Helper()
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &only, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", a.socket)
	}}
	defer transport.CloseIdleConnections()
	path = strings.NewReplacer("{C}", a.container).Replace(path)
	req, err := http.NewRequestWithContext(a.t.Context(), method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	a.answers.Write(answer)
	return res, err
}

// request writes one request, with its length unless a header says how long it is.
func request(line, body string, headers ...string) string {
	framed := false
	out := line + " HTTP/1.1\r\nHost: docker\r\n"
	typed := false
	for _, h := range headers {
		out += h + "\r\n"
		framed = framed || strings.HasPrefix(strings.ToLower(h), "content-length") || strings.HasPrefix(strings.ToLower(h), "transfer-encoding")
		typed = typed || strings.HasPrefix(strings.ToLower(h), "content-type")
	}
	if !typed && body != "" {
		out += "Content-Type: application/json\r\n"
	}
	if !framed {
		out += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return out + "\r\n" + body
}

var ids = regexp.MustCompile(`"I[dD]":"([0-9a-f]{64})"`)

// finish starts, the same way, whatever was made: execs and containers.
func (a *arena) finish() {
	for _, m := range ids.FindAllStringSubmatch(a.answers.String(), -1) {
		a.raw(request("POST /exec/"+m[1]+"/start", `{"Detach":true}`))
		a.raw(request("POST /containers/"+m[1]+"/start", ""))
	}
}

// ran says what of what is denied came about, by the daemon's own word; "" for
// nothing.
func (a *arena) ran() string {
	for _, dir := range []string{"/tmp", "/"} {
		found, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(a.pid), "root", dir, "FORBIDDEN*"))
		if err != nil {
			a.t.Fatal(err)
		}
		for _, f := range found {
			_ = os.Remove(f)
		}
		if len(found) > 0 {
			return "the command ran in the container"
		}
	}
	for _, m := range ids.FindAllStringSubmatch(a.answers.String(), -1) {
		out, err := docker.Output(a.e.CLI(context.Background(), "inspect", "--type", "container", m[1]))
		if err != nil {
			continue
		}
		var all []struct {
			State      struct{ StartedAt string }
			Config     json.RawMessage
			HostConfig struct {
				Privileged  bool
				PidMode     string
				VolumesFrom []string
			}
		}
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
			a.t.Fatalf("%v %s", err, out)
		}
		c := all[0]
		if strings.HasPrefix(c.State.StartedAt, "0001-") {
			continue
		}
		if strings.Contains(string(c.Config), "FORBIDDEN") || c.HostConfig.Privileged || c.HostConfig.PidMode == "host" || strings.Contains(out, `"/etc`) || strings.Contains(out, `"door-volume`) ||
			strings.Contains(out, a.link+":") || len(c.HostConfig.VolumesFrom) > 0 {
			return "a container that is denied was started"
		}
	}
	return ""
}

func (a *arena) clean() {
	for _, m := range ids.FindAllStringSubmatch(a.answers.String(), -1) {
		_ = a.e.Remove(context.Background(), m[1])
	}
}

const (
	touch   = `["/bin/touch","/tmp/FORBIDDEN"]`
	execIt  = `{"Cmd":` + touch + `}`
	harm    = `{"Cmd":["/bin/true"]}`
	anImage = `"Image":"` + docker.Image + `"`
)

func chunked(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
	}
	return b.String() + "0\r\n\r\n"
}

// attempt is a way round a rule that says no, on a ground of its kind.
type attempt[G any] struct {
	name string
	// direct says that the daemon itself lets it through: the attempt is one.
	direct bool
	try    func(G)
}

func send(raws ...string) func(*arena) {
	return func(a *arena) {
		for _, r := range raws {
			a.raw(r)
		}
	}
}

func execCreate(body string, headers ...string) func(*arena) {
	return send(request("POST /v1.41/containers/{C}/exec", body, headers...))
}

func create(body string) func(*arena) {
	return send(request("POST /v1.41/containers/create", body))
}

// attempts are more than the requirements V1 to V5 and V11 of the survey of other
// guards; each is made on the real daemon, too.
func attempts() []attempt[*arena] {
	pad := strings.Repeat(" ", 5<<20)
	return append(beyondTold(), []attempt[*arena]{
		{"plain", true, execCreate(execIt)},
		{"charset parameter", true, execCreate(execIt, "Content-Type: application/json; charset=utf-8")},
		{"media type in capitals", true, execCreate(execIt, "Content-Type: Application/JSON")},
		{"other parameter", true, execCreate(execIt, `Content-Type: application/json; a="b;c"`)},
		{"other media type", false, execCreate(execIt, "Content-Type: text/plain")},
		{"no media type", false, execCreate(execIt, "Content-Type:")},
		{"two media types", true, execCreate(execIt, "Content-Type: application/json", "Content-Type: text/plain")},
		{"form", false, execCreate("Cmd=FORBIDDEN", "Content-Type: application/x-www-form-urlencoded")},
		{"keys in lower case", true, execCreate(`{"cmd":` + touch + `}`)},
		{"keys in mixed case", true, execCreate(`{"cMD":` + touch + `}`)},
		{"escaped key", true, execCreate(`{"\u0043md":` + touch + `}`)},
		{"long s and kelvin", true, execCreate(`{"Cmd":["/bin/true"],"cmd":` + touch + `}`)},
		{"duplicate key, last", true, execCreate(`{"Cmd":["/bin/true"],"Cmd":` + touch + `}`)},
		{"duplicate key, first", false, execCreate(`{"Cmd":` + touch + `,"Cmd":["/bin/true"]}`)},
		{"duplicate key in another case", true, execCreate(`{"Cmd":["/bin/true"],"CMD":` + touch + `}`)},
		{"null after", false, execCreate(`{"Cmd":` + touch + `,"cmd":null}`)},
		{"escaped argument", true, execCreate(`{"Cmd":["/bin/touch","/tmp/\u0046ORBIDDEN"]}`)},
		{"body behind the body", false, execCreate(harm + execIt)},
		{"padding in front", true, execCreate(strings.Repeat(" ", 2<<20) + execIt)},
		{"padding over the limit", true, execCreate(pad + execIt)},
		{"padding inside", true, execCreate(`{"Env":["X=` + strings.Repeat("x", 100<<10) + `"],"Cmd":` + touch + `}`)},
		{"much padding inside", true, execCreate(`{"Labels":"` + strings.Repeat("x", 3<<20) + `","Cmd":` + touch + `}`)},
		{"padding after", true, execCreate(execIt + pad)},
		{"byte order mark", false, execCreate("\ufeff" + execIt)},
		{"chunked", true, execCreate(chunked(execIt), "Transfer-Encoding: chunked")},
		{"chunked in many", true, execCreate(chunked(execIt[:3], execIt[3:11], execIt[11:]), "Transfer-Encoding: chunked")},
		{"chunked with trailer", true, execCreate(strings.TrimSuffix(chunked(execIt), "\r\n")+"X-A: b\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X-A")},
		{"chunk extension", true, execCreate(fmt.Sprintf("%x;a=b\r\n%s\r\n0\r\n\r\n", len(execIt), execIt), "Transfer-Encoding: chunked")},
		{"length and chunks", true, execCreate(chunked(execIt), "Content-Length: 4", "Transfer-Encoding: chunked")},
		{"two lengths", false, execCreate(execIt, "Content-Length: 4", fmt.Sprintf("Content-Length: %d", len(execIt)))},
		{"length with sign", false, execCreate(execIt, fmt.Sprintf("Content-Length: +%d", len(execIt)))},
		{"odd transfer encoding", false, execCreate(chunked(execIt), "Transfer-Encoding: xchunked")},
		{"transfer encoding twice", false, execCreate(chunked(execIt), "Transfer-Encoding: chunked", "Transfer-Encoding: identity")},
		{"content encoding", true, execCreate(execIt, "Content-Encoding: gzip")},
		{"empty body", false, execCreate("")},
		{"a list", false, execCreate("[" + execIt + "]")},
		{"a text for a list", false, execCreate(`{"Cmd":"/bin/touch /tmp/FORBIDDEN"}`)},
		{"short id", true, send(request("POST /v1.41/containers/{S}/exec", execIt))},
		{"name", true, send(request("POST /v1.41/containers/{N}/exec", execIt))},
		{"no version", true, send(request("POST /containers/{C}/exec", execIt))},
		{"old version", true, send(request("POST /v1.12/containers/{C}/exec", execIt))},
		{"odd version", true, send(request("POST /v1.41.0/containers/{C}/exec", execIt))},
		{"new version", false, send(request("POST /v9.99/containers/{C}/exec", execIt))},
		{"version of dots", false, send(request("POST /v../containers/{C}/exec", execIt))},
		{"escaped path", true, send(request("POST /v1.41/%63ontainers/{C}/e%78ec", execIt))},
		{"escaped slash", true, send(request("POST /v1.41/containers%2F{C}%2Fexec", execIt))},
		{"two slashes", false, send(request("POST /v1.41//containers/{C}/exec", execIt))},
		{"dots", false, send(request("POST /v1.41/x/../containers/{C}/exec", execIt))},
		{"escaped dots", false, send(request("POST /v1.41/x/%2e%2e/containers/{C}/exec", execIt))},
		{"slash at the end", false, send(request("POST /v1.41/containers/{C}/exec/", execIt))},
		{"absolute address", true, send(request("POST http://docker/v1.41/containers/{C}/exec", execIt))},
		{"absolute address with user", true, send(request("POST http://a:b@docker/v1.41/containers/{C}/exec?x=/", execIt))},
		{"slash before the name", false, send(request("POST /v1.41/containers/%2f{N}/exec", execIt))},
		{"method in a header", false, send(request("GET /v1.41/containers/{C}/exec", execIt, "X-HTTP-Method-Override: POST"))},
		{"method in lower case", false, send(request("post /v1.41/containers/{C}/exec", execIt))},
		{"HTTP/1.0", true, send(strings.Replace(request("POST /containers/{C}/exec", execIt), "HTTP/1.1", "HTTP/1.0", 1))},
		{"upgrade", true, execCreate(execIt, "Connection: Upgrade", "Upgrade: tcp")},
		{"upgrade to h2c", true, execCreate(execIt, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")},
		{"expect", true, execCreate(execIt, "Expect: 100-continue")},
		{"folded header", true, execCreate(execIt, "Content-Type: application/json;\r\n charset=utf-8")},
		{"name of another header", false, execCreate(execIt, "Content-Type : application/json")},
		{"pipelined behind a read", true, send(request("GET /v1.41/_ping", "") + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"pipelined behind a refused one", true, send(request("POST /v1.41/containers/{C}/exec", execIt) + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"hidden in a body", false, send(request("POST /v1.41/containers/{C}/wait?condition=not-running", request("POST /v1.41/containers/{C}/exec", execIt)))},
		{"smuggled by length and chunks", true, send(request("POST /v1.41/containers/{C}/resize?h=1&w=1", "0\r\n\r\n"+request("POST /v1.41/containers/{C}/exec", execIt), "Content-Length: 400", "Transfer-Encoding: chunked"))},
		{"smuggled behind an upgrade", true, send(request("GET /v1.41/_ping", "", "Connection: Upgrade", "Upgrade: tcp") + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"query and body", true, send(request("POST /v1.41/containers/{C}/exec?Cmd=x", execIt))},
		{"bad query", false, send(request("POST /v1.41/containers/{C}/exec?a=%zz", execIt))},
		// Where the runtime may give all capabilities away, this one comes about, too.
		{"privileged in lower case", false, execCreate(`{"Cmd":["/bin/touch","/FORBIDDEN"],"privileged":true}`)},
		{"twice on one connection", true, send(request("POST /v1.41/containers/{C}/exec", harm) + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"line ends before the request", false, send("\r\n\r\n" + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"line feeds alone", true, send(strings.ReplaceAll(request("POST /v1.41/containers/{C}/exec", execIt), "\r\n", "\n"))},
		{"no host", false, send(strings.Replace(request("POST /v1.41/containers/{C}/exec", execIt), "Host: docker\r\n", "", 1))},
		{"two hosts", false, execCreate(execIt, "Host: other")},
		{"HTTP/2 from the start", false, func(a *arena) { a.http2("POST", "/v1.41/containers/{C}/exec", execIt) }},
		{"HTTP/2 at once", false, send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + request("POST /v1.41/containers/{C}/exec", execIt))},
		{"connect", false, send("CONNECT /v1.41/containers/{C}/exec HTTP/1.1\r\nHost: docker\r\n\r\n" + execIt)},
		{"semicolon in the query", false, send(request("POST /v1.41/containers/{C}/exec?a=b;c=d", execIt))},
		{"fragment", true, send(request("POST /v1.41/containers/{C}/exec?#/x", execIt))},

		{"create", true, create(`{` + anImage + `,"Cmd":` + touch + `}`)},
		{"create, entrypoint", true, create(`{` + anImage + `,"Entrypoint":` + touch + `}`)},
		{"create, command as a text", true, create(`{` + anImage + `,"Entrypoint":["/bin/sh","-c"],"Cmd":"touch /FORBIDDEN"}`)},
		{"create, other case", true, create(`{` + anImage + `,"entrypoint":["/bin/touch"],"CMD":["/FORBIDDEN"]}`)},
		{"create, health check", true, create(`{` + anImage + `,"Healthcheck":{"Test":["CMD-SHELL","touch /FORBIDDEN"],"Interval":1000000000}}`)},
		{"create, health check of other case", true, create(`{` + anImage + `,"healthCheck":{"test":["CMD","/bin/touch","/FORBIDDEN"]}}`)},
		{"create, host configuration outside", true, create(`{` + anImage + `,"Binds":["/etc:/e"]}`)},
		{"create, host's pids outside", true, create(`{` + anImage + `,"PidMode":"host"}`)},
		{"create, bind", true, create(`{` + anImage + `,"HostConfig":{"Binds":["/etc:/e:ro"]}}`)},
		{"create, bind of other case", true, create(`{` + anImage + `,"hostconfig":{"binds":["/etc:/e"]}}`)},
		{"create, bind unclean", true, create(`{` + anImage + `,"HostConfig":{"Binds":["/tmp/../etc:/e"]}}`)},
		{"create, mount", true, create(`{` + anImage + `,"HostConfig":{"Mounts":[{"type":"bind","SOURCE":"/etc","Target":"/e"}]}}`)},
		{"create, two host configurations", true, create(`{` + anImage + `,"HostConfig":{},"hostConfig":{"PidMode":"host"}}`)},
		{"create, merged host configurations", true, create(`{` + anImage + `,"HostConfig":{"PidMode":"host"},"HostConfig":{"Memory":0}}`)},
		{"create, volume that is a directory", true, send(
			request("POST /v1.41/volumes/create", `{"Name":"door-volume-made","Driver":"local","DriverOpts":{"type":"none","o":"bind","device":"/etc"}}`),
			request("POST /v1.41/containers/create", `{`+anImage+`,"HostConfig":{"Binds":["door-volume-made:/e"]}}`))},
		{"create, mount of such a volume", true, create(`{` + anImage + `,"HostConfig":{"Mounts":[{"Type":"volume","Source":"door-volume","Target":"/e"}]}}`)},
		{"create, volume made on the way", true, create(`{` + anImage + `,"HostConfig":{"Mounts":[{"Type":"volume","Target":"/e","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none","o":"bind","device":"/etc"}}}}]}}`)},
		{"create, bind of a link", true, func(a *arena) {
			a.raw(request("POST /v1.41/containers/create", `{`+anImage+`,"HostConfig":{"Binds":["`+a.link+`:/e"]}}`))
		}},
		{"create, other's volumes", true, func(a *arena) {
			out, err := docker.Output(a.e.CLI(context.Background(), "create", "-v", "/etc:/e", docker.Image))
			if err != nil {
				a.t.Fatal(err)
			}
			defer func() { _ = a.e.Remove(context.Background(), out) }()
			a.raw(request("POST /v1.41/containers/create", `{`+anImage+`,"HostConfig":{"VolumesFrom":["`+out+`"]}}`))
			a.finish()
		}},
		{"start of what was made beside the door", true, func(a *arena) {
			out, err := docker.Output(a.e.CLI(context.Background(), "create", docker.Image, "/bin/touch", "/FORBIDDEN"))
			if err != nil {
				a.t.Fatal(err)
			}
			fmt.Fprintf(&a.answers, `"Id":"%s"`, out)
		}},
		{"restart of what was made beside the door", true, func(a *arena) {
			out, err := docker.Output(a.e.CLI(context.Background(), "create", docker.Image, "/bin/touch", "/FORBIDDEN"))
			if err != nil {
				a.t.Fatal(err)
			}
			fmt.Fprintf(&a.answers, `"Id":"%s"`, out)
			a.raw(request("POST /containers/"+out+"/restart?t=0", ""))
		}},
		{"start, host configuration", true, func(a *arena) {
			a.raw(request("POST /v1.23/containers/create", `{`+anImage+`}`))
			if m := ids.FindStringSubmatch(a.answers.String()); m != nil {
				a.raw(request("POST /v1.23/containers/"+m[1]+"/start", `{"PidMode":"host"}`))
			}
		}},
		{"attach by websocket", false, send("GET /v1.41/containers/{C}/attach/ws?stdin=1&stream=1&stdout=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://docker\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")},
		{"archive", true, func(a *arena) {
			body := string(tarOf(a.t, "FORBIDDEN"))
			a.raw(request("PUT /v1.41/containers/{C}/archive?path=/tmp", body, "Content-Type: application/x-tar"))
		}},
		{"archive, escaped", true, func(a *arena) {
			body := string(tarOf(a.t, "FORBIDDEN"))
			a.raw(request("PUT /v1.41/containers/{C}/archiv%65?path=/tmp", body, "Content-Type: application/x-tar"))
		}},
		{"archive twice a path", true, func(a *arena) {
			body := string(tarOf(a.t, "FORBIDDEN"))
			a.raw(request("PUT /v1.41/containers/{C}/archive?path=/tmp&path=/x", body, "Content-Type: application/x-tar"))
		}},
		{"commit a command", true, send(
			request("POST /v1.41/commit?container={C}&repo=sallyport.test/by&tag=1", `{"Cmd":`+touch+`}`),
			request("POST /v1.41/containers/create", `{"Image":"sallyport.test/by:1"}`))},
		{"commit by changes", true, send(
			request("POST /v1.41/commit?container={C}&repo=sallyport.test/by&tag=2&changes=CMD+touch+/tmp/FORBIDDEN", `{}`),
			request("POST /v1.41/containers/create", `{"Image":"sallyport.test/by:2"}`))},
		{"libpod", false, send(request("POST /v4.0.0/libpod/containers/{C}/exec", execIt))},
		{"copy of old", false, send(request("POST /v1.41/containers/{C}/copy", `{"Resource":"/tmp"}`))},
	}...)
}

// otherwiseToday are attempts of which today's daemon makes something else than
// Debian's: it takes no API before 1.40, no text for a list, and nothing of a host's
// configuration outside it; but HTTP/2, and with its runtime all capabilities.
var otherwiseToday = []string{
	"old version", "create, command as a text", "create, host configuration outside", "create, host's pids outside",
	"start, host configuration", "start, host configuration over the limit",
	"start, host configuration, chunked and two types", "start, host configuration, length 0 and chunks",
	"HTTP/2 from the start", "privileged in lower case",
}

// attemptsHere are the attempts as the daemon here takes them.
func attemptsHere() []attempt[*arena] {
	all := attempts()
	for i := range all {
		if today() && slices.Contains(otherwiseToday, all[i].name) {
			all[i].direct = !all[i].direct
		}
	}
	return all
}

// TestBypass makes every attempt on the daemon itself and by way of the door. What
// is denied never comes about behind the door; that it does without is the proof
// that the attempt is one.
func TestBypass(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, strict, func(o *door.Options, _ *guard.Options) {
		o.Real = func(path string) string { real, _ := filepath.EvalSymlinks(path); return real }
	})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.Output(e.CLI(t.Context(), "volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "door-volume")); err != nil {
		t.Fatal(err)
	}
	var pairs []grounds[*arena]
	for range 6 { // at once: most of an attempt's time it listens
		pairs = append(pairs, grounds[*arena]{newArena(t, e, e.Socket, link), newArena(t, e, d.socket, link)})
	}
	onBothSides(t, "the daemon", attemptsHere(), pairs)
}

// ground is where attempts are made.
type ground interface {
	begin(t *testing.T)
	heard() string
	finish()
	ran() string
	clean()
}

// grounds are one with nobody in front and one behind the door.
type grounds[G ground] struct{ direct, guarded G }

// onBothSides makes every attempt on both sides, on all pairs at once.
func onBothSides[G ground](t *testing.T, name string, all []attempt[G], pairs []grounds[G]) {
	t.Helper()
	makeAll(t, all, pairs, func(t *testing.T, p grounds[G], x attempt[G]) {
		if got := outcome(t, p.direct, x, x.direct); (got != "") != x.direct {
			t.Errorf("on %s itself: %q, want something to come about: %v: %s", name, got, x.direct, p.direct.heard())
		}
		if got := outcome(t, p.guarded, x, false); got != "" {
			t.Errorf("by way of the door: %s", got)
		}
	})
	real := 0
	for _, x := range all {
		if x.direct {
			real++
		}
	}
	t.Logf("%d attempts, of which %d come about on %s itself", len(all), real, name)
}

// makeAll has every attempt made somewhere, everywhere at once.
func makeAll[G, W any](t *testing.T, all []attempt[G], places []W, do func(*testing.T, W, attempt[G])) {
	work := make(chan attempt[G])
	var working sync.WaitGroup
	for _, w := range places {
		working.Go(func() {
			for x := range work {
				t.Run(x.name, func(t *testing.T) { do(t, w, x) })
			}
		})
	}
	for _, x := range all {
		work <- x
	}
	close(work)
	working.Wait()
}

// outcome makes an attempt and says what came about; it waits for that where
// something is to come.
func outcome[G ground](t *testing.T, g G, x attempt[G], comes bool) string {
	t.Helper()
	g.begin(t)
	defer g.clean()
	x.try(g)
	g.finish()
	got := g.ran()
	for end := time.Now().Add(10 * time.Second); comes && got == "" && time.Now().Before(end); got = g.ran() {
		time.Sleep(100 * time.Millisecond)
	}
	return got
}

func (a *arena) begin(t *testing.T) {
	a.t = t
	a.answers.Reset()
}

// heard is what was answered since.
func (a *arena) heard() string { return a.answers.String() }

// newArena makes a container for attempts on a socket.
func newArena(t *testing.T, e *docker.Engine, socket, link string) *arena {
	t.Helper()
	name := fmt.Sprintf("arena-%d", time.Now().UnixNano())
	id := e.RunT(t, "-i", "--name", name, docker.Image, "/bin/sh")
	return &arena{e: e, socket: socket, container: id, name: name, link: link, pid: e.HostPIDT(t, id)}
}
