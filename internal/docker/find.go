package docker

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Endpoint is where a daemon is to be reached.
type Endpoint struct {
	Address string // for its client
	Socket  string // path of its unix socket, "" when it has none
	Present bool   // the socket is there, or the address was given and is no socket
	Said    string // who said so, for a person
}

// Find returns the Docker daemon of this host where nobody names one: that of
// DOCKER_HOST, else the first of the usual sockets that is there.
func Find(getenv func(string) string) Endpoint {
	if v := getenv("DOCKER_HOST"); v != "" {
		return At(v, "DOCKER_HOST")
	}
	usual := []string{"/var/run/docker.sock", "/run/docker.sock"}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		usual = append(usual, filepath.Join(dir, "docker.sock"))
	}
	for _, path := range usual {
		if s := At(path, "the usual socket"); s.Present {
			return s
		}
	}
	return At(usual[0], "the usual socket")
}

// At returns the daemon that somebody named: at a path, or at a URL.
func At(address, said string) Endpoint {
	if strings.HasPrefix(address, "/") {
		address = "unix://" + address
	}
	s := Endpoint{Address: address, Present: true, Said: said}
	if u, err := url.Parse(address); err == nil && u.Scheme == "unix" {
		s.Socket = u.Path
		info, err := os.Stat(s.Socket)
		s.Present = err == nil && info.Mode()&os.ModeSocket != 0
	}
	return s
}
