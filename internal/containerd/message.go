package containerd

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/internal/core/event"
)

// maxArgs bounds a command list, in arguments.
const maxArgs = 4096

// method is a way to put, change or start a command. read fills in what its
// message says, as far as that can be read; false says that not all could be.
type method struct {
	api  event.RuntimeAPI
	op   event.RuntimeOp
	read func(message []byte, o *event.RuntimeRequest) bool
}

// methods are those that are reported, by path. The messages' fields are those
// of containerd's api/services and of k8s.io/cri-api; of what they hold only
// the command is kept, never the environment.
var methods = func() map[string]*method {
	m := map[string]*method{
		"/containerd.services.containers.v1.Containers/Create": {event.APIContainerd, event.RuntimeOpCreateContainer, readContainer},
		"/containerd.services.tasks.v1.Tasks/Create":           {event.APIContainerd, event.RuntimeOpCreateTask, readTask},
		"/containerd.services.tasks.v1.Tasks/Start":            {event.APIContainerd, event.RuntimeOpStart, readStart},
		"/containerd.services.tasks.v1.Tasks/Exec":             {event.APIContainerd, event.RuntimeOpExec, readExec},
	}
	for _, v := range []string{"v1", "v1alpha2"} {
		cri := "/runtime." + v + ".RuntimeService/"
		m[cri+"CreateContainer"] = &method{event.APICRI, event.RuntimeOpCreateContainer, readCRICreate}
		m[cri+"StartContainer"] = &method{event.APICRI, event.RuntimeOpStart, readCRIStart}
		m[cri+"ExecSync"] = &method{event.APICRI, event.RuntimeOpExecSync, readExecSync}
		m[cri+"Exec"] = &method{event.APICRI, event.RuntimeOpExecStream, readCRIExec}
		m[cri+"Attach"] = &method{event.APICRI, event.RuntimeOpAttach, readAttach}
		m[cri+"PortForward"] = &method{event.APICRI, event.RuntimeOpPortForward, readForward}
	}
	return m
}()

// field is one field of a protobuf message: its bytes or its number.
type field struct {
	bytes  []byte
	number uint64
	kind   protowire.Type
}

func (f field) text() string { return string(f.bytes) }
func (f field) true() bool   { return f.number != 0 }

// fields calls take for every field of a message; false when it ends in the
// middle of one or is none.
func fields(b []byte, take func(n protowire.Number, f field)) bool {
	for len(b) > 0 {
		n, kind, used := protowire.ConsumeTag(b)
		if used < 0 {
			return false
		}
		b = b[used:]
		f := field{kind: kind}
		switch kind {
		case protowire.BytesType:
			f.bytes, used = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			f.number, used = protowire.ConsumeVarint(b)
		default:
			used = protowire.ConsumeFieldValue(n, kind, b)
		}
		if used < 0 {
			return false
		}
		b = b[used:]
		take(n, f)
	}
	return true
}

// id reads an id; false when it can be none.
func id[T ~string](to *T, f field) bool {
	*to = ""
	if len(f.bytes) > maxID || !utf8.Valid(f.bytes) {
		return false
	}
	*to = T(f.bytes)
	return true
}

// args adds an argument to a command list.
func args(to *[]string, f field) bool {
	if len(*to) >= maxArgs || !utf8.Valid(f.bytes) {
		return false
	}
	*to = append(*to, f.text())
	return true
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func readStart(b []byte, o *event.RuntimeRequest) bool {
	good := true
	return fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 2:
			good = id(&o.ExecID, f) && good
		}
	}) && good
}

func readTask(b []byte, o *event.RuntimeRequest) bool {
	good := true
	return fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 4:
			o.Stdin = len(f.bytes) > 0
		case 7:
			o.TTY = f.true()
		}
	}) && good
}

func readExec(b []byte, o *event.RuntimeRequest) bool {
	good := true
	return fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 2:
			o.Stdin = len(f.bytes) > 0
		case 5:
			o.TTY = f.true()
		case 6:
			readAny(f.bytes, o, func(v []byte, p *ociProcess) error { return json.Unmarshal(v, p) })
		case 7:
			good = id(&o.ExecID, f) && good
		}
	}) && good
}

func readContainer(b []byte, o *event.RuntimeRequest) bool {
	good := true
	container := func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 5:
			readAny(f.bytes, o, func(v []byte, p *ociProcess) error {
				return json.Unmarshal(v, &struct {
					Process *ociProcess `json:"process"`
				}{p})
			})
		}
	}
	return fields(b, func(n protowire.Number, f field) {
		if n == 1 {
			good = fields(f.bytes, container) && good
		}
	}) && good
}

// ociProcess is what is kept of an OCI process.
type ociProcess struct {
	Args     []string `json:"args"`
	Terminal bool     `json:"terminal"`
	User     struct {
		UID  uint32 `json:"uid"`
		Name string `json:"username"`
	} `json:"user"`
}

// readAny reads the command out of an OCI specification. One that cannot be
// read gives none: the service may read it in another way.
func readAny(b []byte, o *event.RuntimeRequest, parse func([]byte, *ociProcess) error) {
	fields(b, func(n protowire.Number, f field) {
		var p ociProcess
		if n != 2 || parse(f.bytes, &p) != nil || len(p.Args) > maxArgs {
			return
		}
		o.Argv, o.TTY, o.User = p.Args, o.TTY || p.Terminal, clip(p.User.Name)
		if o.User == "" && p.User.UID != 0 {
			o.User = strconv.FormatUint(uint64(p.User.UID), 10)
		}
	})
}

func readCRIStart(b []byte, o *event.RuntimeRequest) bool {
	good := true
	return fields(b, func(n protowire.Number, f field) {
		if n == 1 {
			good = id(&o.Container, f) && good
		}
	}) && good
}

func readCRICreate(b []byte, o *event.RuntimeRequest) bool {
	good := true
	var command, rest []string
	config := func(n protowire.Number, f field) {
		switch n {
		case 3:
			good = args(&command, f) && good
		case 4:
			good = args(&rest, f) && good
		case 12:
			o.Stdin = f.true()
		case 14:
			o.TTY = f.true()
		}
	}
	good = fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Sandbox, f) && good
		case 2:
			good = fields(f.bytes, config) && good
		}
	}) && good
	if good && len(command) > 0 {
		o.Argv = append(command, rest...)
	}
	return good
}

func readExecSync(b []byte, o *event.RuntimeRequest) bool {
	good, timeout := true, int64(0)
	good = fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 2:
			good = args(&o.Argv, f) && good
		case 3:
			timeout = int64(f.number)
		}
	}) && good
	if !good {
		o.Argv = nil
		return false
	}
	o.Timeout = &timeout
	return true
}

func readCRIExec(b []byte, o *event.RuntimeRequest) bool {
	good := true
	good = fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 2:
			good = args(&o.Argv, f) && good
		case 3:
			o.TTY = f.true()
		case 4:
			o.Stdin = f.true()
		}
	}) && good
	if !good {
		o.Argv = nil
	}
	return good
}

func readAttach(b []byte, o *event.RuntimeRequest) bool {
	good := true
	return fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			good = id(&o.Container, f) && good
		case 2:
			o.Stdin = f.true()
		case 3:
			o.TTY = f.true()
		}
	}) && good
}

func readForward(b []byte, o *event.RuntimeRequest) bool {
	good := true
	port := func(v uint64) {
		if good = v <= 65535 && len(o.Ports) < maxArgs && good; good {
			o.Ports = append(o.Ports, int32(v))
		}
	}
	return fields(b, func(n protowire.Number, f field) {
		switch {
		case n == 1:
			good = id(&o.Sandbox, f) && good
		case n == 2 && f.kind == protowire.VarintType:
			port(f.number)
		case n == 2:
			for p := f.bytes; len(p) > 0; {
				v, used := protowire.ConsumeVarint(p)
				if used < 0 {
					good = false
					return
				}
				port(v)
				p = p[used:]
			}
		}
	}) && good
}
