package audit

import (
	"net/url"
	"path"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// pairs walks over the parameters of a query as net/url's ParseQuery, and so the
// API server, reads it: a pair with a semicolon or an invalid escape is dropped,
// the others count. ParseQuery of a recent Go gives up beyond 10,000 parameters;
// an older server's does not, so here they are all read.
func pairs(query string, visit func(key, value string)) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" || strings.Contains(pair, ";") {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			continue
		}
		if value, err = url.QueryUnescape(value); err == nil {
			visit(key, value)
		}
	}
}

// podOptions reads the parameters of pods/exec and pods/attach as the API
// server converts them: of a repeated one the first counts, "command" is a
// list, and a flag is false only when it is absent, "0" or "false".
func podOptions(q *event.KubeRequest, query string) {
	var container, tty, stdin bool // has been seen
	first := func(seen *bool) bool {
		defer func() { *seen = true }()
		return !*seen
	}
	flag := func(v string) bool { return v != "0" && !strings.EqualFold(v, "false") }
	if q.Op == event.KubeExec {
		q.Argv = make([]string, 0, strings.Count(query, "command="))
	}
	pairs(query, func(key, value string) {
		switch {
		case key == "command" && q.Op == event.KubeExec:
			q.Argv = append(q.Argv, value)
		case key == "container" && first(&container):
			q.Container = value
		case key == "tty" && first(&tty):
			q.TTY = flag(value)
		case key == "stdin" && first(&stdin):
			q.Stdin = flag(value)
		}
	})
	if len(q.Argv) == 0 {
		q.Argv = nil
	}
}

// ports reads the ports of a port-forward: a list whose elements may be lists.
func ports(query, name string) []string {
	var out []string
	pairs(query, func(key, value string) {
		if key == name {
			out = append(out, strings.Split(value, ",")...)
		}
	})
	return out
}

// proxyName returns the name of "[scheme:]name[:port]", the forms in which the
// proxy subresources take it. Names of pods and nodes hold no colon.
func proxyName(name []byte) string {
	parts := strings.Split(string(name), ":")
	if len(parts) == 3 {
		return parts[1]
	}
	return parts[0]
}

// proxyPath returns what follows /RESOURCE/NAME/proxy in a request's path, ""
// when nothing does. The API server unescapes a path once and then splits it,
// so an escaped slash divides, too.
func proxyPath(raw, resource string) string {
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		decoded = raw
	}
	parts := strings.Split(decoded, "/")
	for i := range len(parts) - 3 {
		if parts[i] == resource && parts[i+2] == "proxy" {
			return "/" + strings.Join(parts[i+3:], "/")
		}
	}
	return ""
}

// kubeletOps are the kubelet's paths by which commands run or streams open.
var kubeletOps = map[string]event.KubeOp{
	"exec":        event.KubeNodeExec,
	"run":         event.KubeNodeRun,
	"attach":      event.KubeNodeAttach,
	"portForward": event.KubeNodeForward,
}

// kubeletOptions reads a request to a kubelet: /exec, /run, /attach with
// /NAMESPACE/POD[/UID]/CONTAINER, /portForward without the container. The API
// server cleans the path before it hands the request on.
func kubeletOptions(q *event.KubeRequest, query string) {
	parts := strings.Split(strings.Trim(path.Clean("/"+q.Path), "/"), "/")
	op, ok := kubeletOps[parts[0]]
	if !ok {
		return
	}
	q.Op = op
	if len(parts) > 2 {
		q.Namespace, q.Pod = parts[1], parts[2]
	}
	if op == event.KubeNodeForward {
		q.Ports = ports(query, "port")
		return
	}
	if n := len(parts); n == 4 || n == 5 {
		q.Container = parts[n-1]
	}
	kubeletFlags(q, query)
}

// kubeletFlags reads the parameters as the kubelet does: it has names of its own
// for the streams, and "1" alone is true; /run splits "cmd" at every blank.
func kubeletFlags(q *event.KubeRequest, query string) {
	var cmd, input, tty []string
	pairs(query, func(key, value string) {
		switch {
		case key == "command" && q.Op == event.KubeNodeExec:
			q.Argv = append(q.Argv, value)
		case key == "cmd":
			cmd = append(cmd, value)
		case key == "input":
			input = append(input, value)
		case key == "tty":
			tty = append(tty, value)
		}
	})
	if q.Op == event.KubeNodeRun {
		if len(cmd) > 0 {
			q.Argv = strings.Split(cmd[0], " ")
		}
		return
	}
	q.Stdin = len(input) > 0 && input[0] == "1"
	q.TTY = len(tty) > 0 && tty[0] == "1"
}
