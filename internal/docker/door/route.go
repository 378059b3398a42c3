package door

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// route is what the daemon does with a method and a path.
type route struct {
	method string
	// before and after are what the path begins and ends with; between them is a
	// name. One without a name has no after, and named is false.
	before, after string
	named         bool
	slashes       bool // the name may have some: those of images and plugins

	channel event.Channel
	kind    session.Kind
	op      event.DockerOp
	body    *schema
	// names says what the name is of.
	names names
	// stream says that the connection may become something else than HTTP.
	stream bool
	// empty says that clients send no body, and that none is forwarded.
	empty bool
}

// names is what a route's name is of.
type names int

const (
	nothing names = iota
	aContainer
	anExec
	other
)

// routes has those of Docker 20.10 to 29 and of Podman 4, by method and the first element of the
// path. What is not in it is of channel UNKNOWN.
var routes = index(slices.Concat(tableOf(), libpodTable()))

type entry struct {
	pattern string // METHOD /path, with * for a name and ** for one that may have slashes
	route
}

func on(channel event.Channel, kind session.Kind, patterns ...string) []entry {
	var out []entry
	for _, p := range patterns {
		out = append(out, entry{p, route{channel: channel, kind: kind, op: event.OpOther}})
	}
	return out
}

func one(pattern string, r route) []entry {
	if r.op == "" {
		r.op = event.OpOther
	}
	return []entry{{pattern, r}}
}

// containerTable has the routes that an API whose paths begin so has in common with
// Docker's: those by which commands and files get into containers.
func containerTable(api string, create, execStart *schema) []entry {
	var t []entry
	add := func(method, path string, r route) { t = append(t, entry{method + " " + api + path, r}) }
	const command, exec, files = session.KindStart, session.KindExec, session.KindCopy

	add("POST", "/containers/create", route{channel: event.ChannelDockerRun, kind: command, op: event.OpContainerCreate, body: create})
	add("POST", "/containers/*/start", route{channel: event.ChannelDockerStart, kind: command, op: event.OpContainerStart, empty: true})
	add("POST", "/containers/*/restart", route{channel: event.ChannelDockerStart, kind: command, op: event.OpContainerStart, empty: true})
	add("POST", "/containers/*/exec", route{channel: event.ChannelDockerExec, kind: exec, op: event.OpExecCreate, body: execCreate})
	add("POST", "/exec/*/start", route{channel: event.ChannelDockerExec, kind: exec, op: event.OpExecStart, body: execStart, stream: true})
	add("POST", "/containers/*/attach", route{channel: event.ChannelDockerAttach, kind: session.KindAttach, op: event.OpAttach, stream: true, empty: true})
	add("PUT", "/containers/*/archive", route{channel: event.ChannelDockerArchive, kind: files, op: event.OpCopyIn})
	add("GET", "/containers/*/archive", route{channel: event.ChannelDockerArchive, kind: files, op: event.OpCopyOut})
	add("GET", "/containers/*/export", route{channel: event.ChannelDockerArchive, kind: files, op: event.OpCopyOut})
	return t
}

func tableOf() []entry {
	var t []entry
	add := func(more []entry) { t = append(t, more...) }
	const change, request = session.KindChange, session.KindRequest

	add(containerTable("", create, execStart))
	add(one("GET /containers/*/attach/ws", route{channel: event.ChannelDockerAttachWS, kind: session.KindAttach, op: event.OpAttach, stream: true, empty: true}))
	add(one("POST /commit", route{channel: event.ChannelDockerCommit, kind: change, body: commit}))
	add(one("POST /containers/*/update", route{channel: event.ChannelDockerUpdate, kind: change, body: update}))
	add(one("POST /volumes/create", route{channel: event.ChannelDockerVolume, kind: change, body: vol}))
	add(one("POST /services/create", route{channel: event.ChannelDockerSwarm, kind: change, body: service}))
	add(one("POST /services/*/update", route{channel: event.ChannelDockerSwarm, kind: change, body: service}))
	add(one("POST /session", route{channel: event.ChannelDockerBuild, kind: change, stream: true, empty: true}))
	add(one("POST /grpc", route{channel: event.ChannelDockerBuild, kind: change, stream: true, empty: true}))

	add(on(event.ChannelDockerBuild, change, "POST /build"))
	add(on(event.ChannelDockerImage, change, "POST /images/load", "POST /images/create", "POST /images/**/tag"))
	add(on(event.ChannelDockerCkpt, change, "POST /containers/*/checkpoints"))
	add(on(event.ChannelDockerVolume, change, "PUT /volumes/*"))
	add(on(event.ChannelDockerPlugin, change, "POST /plugins/create", "POST /plugins/pull", "POST /plugins/**/enable",
		"POST /plugins/**/disable", "POST /plugins/**/push", "POST /plugins/**/set", "POST /plugins/**/upgrade", "DELETE /plugins/**"))
	add(on(event.ChannelDockerSwarm, change, "POST /swarm/init", "POST /swarm/join", "POST /swarm/leave", "POST /swarm/unlock",
		"POST /swarm/update", "GET /swarm/unlockkey", "POST /nodes/*/update", "DELETE /nodes/*", "POST /configs/create",
		"POST /configs/*/update", "POST /secrets/create", "POST /secrets/*/update"))

	add(on(event.ChannelDockerTop, request, "GET /containers/*/top"))
	add(on(event.ChannelDockerKill, request, "POST /containers/*/kill"))
	add(on(event.ChannelDockerPause, request, "POST /containers/*/pause", "POST /containers/*/unpause"))
	add(on(event.ChannelDockerRename, request, "POST /containers/*/rename"))
	add(on(event.ChannelDockerAPI, request, "POST /containers/*/stop", "POST /containers/prune", "DELETE /containers/*",
		"DELETE /containers/*/checkpoints/*", "POST /images/prune", "POST /images/**/push", "DELETE /images/**", "POST /build/prune",
		"POST /build/cancel", "POST /networks/create", "POST /networks/prune", "POST /networks/*/connect", "POST /networks/*/disconnect",
		"DELETE /networks/*", "POST /volumes/prune", "DELETE /volumes/*", "DELETE /configs/*", "DELETE /secrets/*", "DELETE /services/*"))
	add(on(event.ChannelDockerRead, request, "GET /_ping", "HEAD /_ping", "GET /version", "GET /info", "GET /events", "POST /auth",
		"GET /containers/json", "GET /containers/*/json", "GET /containers/*/logs", "GET /containers/*/stats", "GET /containers/*/changes",
		"GET /containers/*/checkpoints", "HEAD /containers/*/archive", "POST /containers/*/wait", "POST /containers/*/resize",
		"POST /exec/*/resize", "GET /exec/*/json", "GET /images/json", "GET /images/search", "GET /images/get", "GET /images/**/get",
		"GET /images/**/json", "GET /images/**/history", "GET /images/**/attestations", "GET /distribution/**/json", "GET /networks",
		"GET /networks/*", "GET /nodes", "GET /nodes/*", "GET /plugins", "GET /plugins/privileges", "GET /plugins/**/json", "GET /secrets",
		"GET /secrets/*", "GET /configs", "GET /configs/*", "GET /services", "GET /services/*", "GET /services/*/logs", "GET /swarm",
		"GET /system/df", "GET /tasks", "GET /tasks/*", "GET /tasks/*/logs", "GET /volumes", "GET /volumes/*"))
	return t
}

// index makes the table of what is written above.
func index(t []entry) map[string][]route {
	out := map[string][]route{}
	for _, e := range t {
		r := e.route
		var p string
		r.method, p, _ = strings.Cut(e.pattern, " ")
		r.before, r.after, r.named = strings.Cut(p, "*")
		if r.named {
			r.after, r.slashes = strings.CutPrefix(r.after, "*")
			if r.names == nothing {
				r.names = namesOf(r.before)
			}
		}
		key := r.method + " " + first(p)
		out[key] = append(out[key], r)
	}
	return out
}

func namesOf(before string) names {
	switch strings.TrimPrefix(before, libpod) {
	case "/containers/":
		return aContainer
	case "/exec/":
		return anExec
	}
	return other
}

// first returns the first element of a path.
func first(p string) string {
	p, _, _ = strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return p
}

// find returns the route of a path without version, and the name in it. Paths
// without a name come before those with one, as in the daemon's router.
func find(method, p string) (r route, name string, ok bool) {
	for _, r := range routes[method+" "+first(p)] {
		if !r.named && p == r.before {
			return r, "", true
		}
	}
	for _, r := range routes[method+" "+first(p)] {
		if name, ok := r.match(p); ok {
			return r, name, true
		}
	}
	return route{}, "", false
}

func (r *route) match(p string) (string, bool) {
	if !r.named || len(p) <= len(r.before)+len(r.after) || !strings.HasPrefix(p, r.before) {
		return "", false
	}
	if before, after, two := strings.Cut(r.after, "*"); two { // DELETE /containers/*/checkpoints/*
		name, rest, ok := strings.Cut(p[len(r.before):], before)
		return name, ok && after == "" && rest != "" && !strings.Contains(name+rest, "/")
	}
	if !strings.HasSuffix(p, r.after) {
		return "", false
	}
	name := p[len(r.before) : len(p)-len(r.after)]
	return name, r.slashes || !strings.Contains(name, "/")
}

// place is where a request goes.
type place struct {
	version string // "v1.41", or none
	path    string // without it, clean
	// escaped says that the name in it has slashes which came escaped: Podman's
	// clients write images so, and its router reads both forms as one.
	escaped bool
}

// String returns the path as it is forwarded.
func (p place) String() string {
	if p.version == "" {
		return p.path
	}
	return "/" + p.version + p.path
}

var (
	errPath    = errors.New("the path is not in the one form that the Docker API has it in")
	errVersion = errors.New("the path's version is none")
)

// placeOf reads a request's path as the daemon's router does: unescaped, and
// clean, since for others the router answers with another path. What no name has and
// would be escaped again is refused.
func placeOf(u *url.URL) (place, error) {
	p := u.Path
	switch {
	case p == "" || p[0] != '/' || path.Clean(p) != p:
		return place{}, fmt.Errorf("%w: it is not clean", errPath)
	}
	escaped := strings.Count(u.EscapedPath(), "/") != strings.Count(p, "/")
	for i := range len(p) {
		if c := p[i]; !alphanumeric(c) && strings.IndexByte("/-_.~$&+,:=@", c) < 0 {
			return place{}, fmt.Errorf("%w: it has %q", errPath, c)
		}
	}
	rest, ok := strings.CutPrefix(p, "/v")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return place{path: p, escaped: escaped}, nil
	}
	version, rest, _ := strings.Cut(rest, "/")
	if rest == "" || !isVersion(version) && !(strings.HasPrefix(rest, "libpod/") && isLibpodVersion(version)) {
		return place{}, errVersion
	}
	return place{"v" + version, "/" + rest, escaped}, nil
}

// isVersion reports whether s is MAJOR.MINOR.
func isVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	return ok && digits(major) && digits(minor)
}

func digits(s string) bool {
	return s != "" && len(s) <= 4 && strings.Trim(s, "0123456789") == ""
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isRef reports whether s can name a container or an exec.
func isRef(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !alphanumeric(c) && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 1<<10
}

// queryOf reads a request's query. A parameter that stands twice is refused:
// which of them is heard depends on who reads it. What the daemon reads as a list
// may.
func queryOf(u *url.URL) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query: %w", err)
	}
	for k, v := range q {
		if len(v) > 1 && !lists[k] {
			return nil, fmt.Errorf("the query has %q twice", k)
		}
		// Podman reads them in any case.
		for _, h := range heard {
			if k != h && strings.EqualFold(k, h) {
				return nil, fmt.Errorf("the query has %q, which daemons may read as %q", k, h)
			}
		}
	}
	return q, nil
}

// heard are the parameters that say what is asked for.
var heard = []string{
	"name", "container", "path", "changes", "checkpoint", "stdin", "fromImage", "fromSrc", "reference", "repo", "tag", "ps_args", "pod",
}

// lists are the parameters that the daemon reads as lists.
var lists = map[string]bool{
	"t": true, "names": true, "changes": true, "ulimits": true, "buildargs": true, "extrahosts": true, "networks": true, "outputs": true,
	"type": true, "platform": true, "platforms": true,
	// Podman's
	"references": true, "images": true, "containers": true, "condition": true, "namesOrIDs": true, "wants": true, "after": true,
	"requires": true, "additionalEnvVariables": true,
}

// read finds what a request is, by its line alone.
func read(r *http.Request) (route, place, string, url.Values, error) {
	unknown := route{channel: event.ChannelUnknown, kind: session.KindRequest, op: event.OpOther, method: r.Method}
	at, err := placeOf(r.URL)
	if err != nil {
		return unknown, at, "", nil, err
	}
	q, err := queryOf(r.URL)
	if err != nil {
		return unknown, at, "", nil, err
	}
	rt, name, ok := find(r.Method, at.path)
	if !ok && !at.escaped {
		return unknown, at, "", q, nil
	}
	if at.escaped && !(rt.slashes && strings.HasPrefix(at.path, libpod)) {
		return unknown, at, "", q, fmt.Errorf("%w: it has an escaped slash", errPath)
	}
	if (rt.names == aContainer || rt.names == anExec) && !isRef(name) {
		return unknown, at, "", q, fmt.Errorf("%w: %q is no name", errPath, name)
	}
	return rt, at, name, q, nil
}
