package docker

import (
	"bytes"
	"encoding/json"

	"github.com/sallyport/sallyport/internal/core/event"
)

// bodyKind says how a request's body is to be read.
type bodyKind int

const (
	bodyIgnored bodyKind = iota
	bodyExecCreate
	bodyExecStart
	bodyCreate
	bodyLibpodCreate
)

// words is an argument list, which clients may write as one string.
type words []string

// UnmarshalJSON implements json.Unmarshaler the way the daemon's own type does.
func (w *words) UnmarshalJSON(b []byte) error {
	v := []string{}
	if err := json.Unmarshal(b, &v); err != nil {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		v = []string{s}
	}
	*w = v
	return nil
}

// decode reads the first JSON value of body into o and reports whether there
// was one that fits. It follows the daemon's decoder: keys match without regard
// to case, the last of equal keys wins, what follows the value is ignored, and
// bytes that are not UTF-8 become U+FFFD in what is executed as well.
func (k bodyKind) decode(body []byte, o *event.DockerRequest) bool {
	switch k {
	case bodyExecCreate:
		return decodeExecCreate(body, o)
	case bodyExecStart:
		return decodeExecStart(body, o)
	case bodyCreate:
		return decodeCreate(body, o)
	case bodyLibpodCreate:
		return decodeLibpodCreate(body, o)
	case bodyIgnored:
	}
	return false
}

func decodeExecCreate(body []byte, o *event.DockerRequest) bool {
	var v struct {
		Cmd                          words
		User                         string
		Tty, AttachStdin, Privileged bool
	}
	if !firstValue(body, &v) {
		return false
	}
	o.Argv, o.User = v.Cmd, clip(v.User, maxRef)
	o.TTY, o.Stdin, o.Privileged = v.Tty, v.AttachStdin, v.Privileged
	return true
}

func decodeExecStart(body []byte, o *event.DockerRequest) bool {
	var v struct{ Detach, Tty bool }
	if !firstValue(body, &v) {
		return false
	}
	o.Detach, o.TTY = v.Detach, v.Tty
	return true
}

func decodeCreate(body []byte, o *event.DockerRequest) bool {
	var v struct {
		Entrypoint, Cmd words
		User            string
		Tty, OpenStdin  bool
		HostConfig      hostConfig
	}
	if !firstValue(body, &v) {
		return false
	}
	o.Argv, o.User = entrypointArgv(v.Entrypoint, v.Cmd), clip(v.User, maxRef)
	o.TTY, o.Stdin = v.Tty, v.OpenStdin
	o.Privileged, o.HostAccess = v.HostConfig.Privileged, v.HostConfig.access(nil)
	return true
}

func decodeLibpodCreate(body []byte, o *event.DockerRequest) bool {
	var v struct {
		Name, User                  string
		Entrypoint, Command         words
		Terminal, Stdin, Privileged bool
	}
	if !firstValue(body, &v) {
		return false
	}
	o.Argv, o.User = entrypointArgv(v.Entrypoint, v.Command), clip(v.User, maxRef)
	o.TTY, o.Stdin, o.Privileged = v.Terminal, v.Stdin, v.Privileged
	o.HostAccess = &event.HostAccess{Privileged: v.Privileged, Partial: true}
	if o.Ref == "" {
		o.Ref = clip(v.Name, maxRef)
	}
	return true
}

// entrypointArgv returns what a container create will run, or nil when a part
// of it comes from the image. An entrypoint that is there but empty, or one
// empty string, switches the image's off.
func entrypointArgv(entrypoint, cmd words) []string {
	if entrypoint == nil {
		return nil
	}
	if len(entrypoint) == 0 || len(entrypoint) == 1 && entrypoint[0] == "" {
		if len(cmd) == 0 {
			return nil
		}
		return cmd
	}
	return append(entrypoint[:len(entrypoint):len(entrypoint)], cmd...)
}

func firstValue(body []byte, v any) bool {
	return json.NewDecoder(bytes.NewReader(body)).Decode(v) == nil
}

// createdID reads the id out of the answer to a create.
func createdID(body []byte) string {
	var v struct{ ID string }
	if !firstValue(body, &v) {
		return ""
	}
	return clip(v.ID, maxRef)
}
