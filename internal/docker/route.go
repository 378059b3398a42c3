package docker

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds on what is kept of a request's line and header, in bytes. Longer
// values are cut: they name nothing that exists.
const (
	maxRef       = 1 << 10
	maxPath      = 4 << 10 // PATH_MAX
	maxUserAgent = 256
)

// route is what a request's line says.
type route struct {
	op     event.DockerOp
	ref    string
	execID event.ExecID
	path   string
	stdin  bool
	body   bodyKind
	// report says that the request is told to the engine.
	report bool
	// opaque says that an upgrade on this route starts a protocol that cannot
	// carry requests to containers (BuildKit's session and control).
	opaque bool
}

// routeOf reads a request's line the way the daemon's router does: on the
// unescaped path, which must be clean, because the router answers others with
// a redirect.
func routeOf(method string, u *url.URL) route {
	p, libpod := trimVersion(u.Path)
	if path.Clean(u.Path) != u.Path {
		return otherRoute(method, p)
	}
	if rest, ok := strings.CutPrefix(p, "/exec/"); ok && method == http.MethodPost {
		if id, ok := strings.CutSuffix(rest, "/start"); ok {
			return route{op: event.OpExecStart, execID: event.ExecID(clip(id, maxRef)), body: bodyExecStart, report: true}
		}
	}
	if rest, ok := strings.CutPrefix(p, "/containers/"); ok {
		if r, ok := containerRoute(method, rest, u.Query(), libpod); ok {
			r.report = true
			return r
		}
	}
	return otherRoute(method, p)
}

// containerRoute reads what follows "/containers/".
func containerRoute(method, rest string, q url.Values, libpod bool) (route, bool) {
	if rest == "create" && method == http.MethodPost {
		r := route{op: event.OpContainerCreate, ref: clip(q.Get("name"), maxRef), body: bodyCreate}
		if libpod {
			r.body = bodyLibpodCreate
		}
		return r, true
	}
	if ref, ok := strings.CutSuffix(rest, "/attach/ws"); ok && method == http.MethodGet {
		return route{op: event.OpAttach, ref: clip(ref, maxRef), stdin: Truth(q.Get("stdin"))}, true
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return route{}, false
	}
	r := route{ref: clip(rest[:i], maxRef)}
	switch method + " " + rest[i+1:] {
	case "POST exec":
		r.op, r.body = event.OpExecCreate, bodyExecCreate
	case "POST start", "POST restart":
		r.op = event.OpContainerStart
	case "POST attach":
		r.op, r.stdin = event.OpAttach, Truth(q.Get("stdin"))
	case "PUT archive":
		r.op, r.path = event.OpCopyIn, clip(q.Get("path"), maxPath)
	case "GET archive":
		r.op, r.path = event.OpCopyOut, clip(q.Get("path"), maxPath)
	default:
		return route{}, false
	}
	return r, true
}

// otherRoute is any request that concerns no command. Those that change
// nothing are not reported, HEAD of an archive among them: it copies nothing.
func otherRoute(method, p string) route {
	return route{
		op:     event.OpOther,
		report: method == http.MethodPost || method == http.MethodPut || method == http.MethodDelete,
		opaque: p == "/session" || p == "/grpc",
	}
}

// trimVersion takes the optional "/v1.41" and Podman's "/libpod" off a path.
func trimVersion(p string) (rest string, libpod bool) {
	if v, ok := strings.CutPrefix(p, "/v"); ok && v != "" && v[0] >= '0' && v[0] <= '9' {
		if i := strings.IndexByte(v, '/'); i >= 0 {
			p = v[i:]
		}
	}
	if rest, ok := strings.CutPrefix(p, "/libpod/"); ok {
		return "/" + rest, true
	}
	return p, false
}

// Truth reads a boolean of a query as the daemon does.
func Truth(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// clip returns the first n bytes of s, in memory of its own: s may be part of
// something much larger.
func clip(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }
