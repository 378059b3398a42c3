package session

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Strings from outside need not be UTF-8. In JSON, "argv", "exe", "filename"
// and "path" always are strings that any parser reads (invalid bytes replaced);
// "argv_base64" and so on hold the exact bytes, when the two differ.
//
// The wire types below say what the JSON form is; they are read as they are, and
// writer writes them. They stand beside the plain ones, field by field, instead
// of calling one another's UnmarshalJSON: encoding/json checks the input of
// every such call anew, and a session has hundreds of nested values.

type (
	plainSession     Session
	plainAttribution Attribution
	plainActor       Actor
	plainProcess     Process
	plainProgram     Program
)

type sessionJSON struct {
	plainSession
	argvJSON
	PathBase64  string          `json:"path_base64,omitempty"`
	Actor       actorJSON       `json:"actor"`
	Attribution attributionJSON `json:"attribution"`
	Processes   []processJSON   `json:"processes,omitempty"`
}

type attributionJSON struct {
	plainAttribution
	Candidates []actorJSON `json:"candidates,omitempty"`
}

type actorJSON struct {
	plainActor
	argvJSON
	ExeBase64 string `json:"exe_base64,omitempty"`
}

type processJSON struct {
	plainProcess
	argvJSON
	StartBoot      uint64        `json:"start_boot,omitempty"` // absent where no kernel told
	StartLogged    uint64        `json:"start_logged,omitempty"`
	UID            *uint32       `json:"uid,omitempty"`
	GID            *uint32       `json:"gid,omitempty"`
	ExeBase64      string        `json:"exe_base64,omitempty"`
	FilenameBase64 string        `json:"filename_base64,omitempty"`
	Execs          []programJSON `json:"execs,omitempty"`
}

type programJSON struct {
	plainProgram
	argvJSON
	ExeBase64 string `json:"exe_base64,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Session) UnmarshalJSON(b []byte) error {
	var v sessionJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var d decoder
	out := Session(v.plainSession)
	out.Argv, out.Path = d.argv(v.argvJSON), d.text(out.Path, v.PathBase64)
	out.Actor = d.actor(v.Actor)
	out.Attribution = Attribution(v.Attribution.plainAttribution)
	out.Attribution.Candidates = each(v.Attribution.Candidates, d.actor)
	out.Processes = each(v.Processes, d.process)
	*s = out
	return d.err
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Actor) UnmarshalJSON(b []byte) error { return decode(b, a, (*decoder).actor) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Process) UnmarshalJSON(b []byte) error { return decode(b, p, (*decoder).process) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Program) UnmarshalJSON(b []byte) error { return decode(b, p, (*decoder).program) }

func decode[W, T any](b []byte, to *T, convert func(*decoder, W) T) error {
	var w W
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	var d decoder
	*to = convert(&d, w)
	return d.err
}

// each converts a list; nil stays nil.
func each[A, B any](list []A, convert func(A) B) []B {
	if list == nil {
		return nil
	}
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = convert(a)
	}
	return out
}

type argvJSON struct {
	Argv       []string `json:"argv,omitempty"`
	ArgvBase64 []string `json:"argv_base64,omitempty"`
}

// exact returns s in base64 when it is not valid UTF-8.
func exact(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}

// decoder turns wire values back and remembers the first error.
type decoder struct{ err error }

func (d *decoder) argv(a argvJSON) []string {
	if a.ArgvBase64 == nil {
		return a.Argv
	}
	args, err := event.DecodeBase64Args(a.ArgvBase64)
	d.err = cmp.Or(d.err, err)
	return args
}

func (d *decoder) text(s, enc string) string {
	if enc == "" {
		return s
	}
	raw, err := base64.StdEncoding.DecodeString(enc)
	if err != nil {
		d.err = cmp.Or(d.err, fmt.Errorf("exact form of %q: %w", s, err))
	}
	return string(raw)
}

func (d *decoder) actor(w actorJSON) Actor {
	a := Actor(w.plainActor)
	a.Argv, a.Exe = d.argv(w.argvJSON), d.text(a.Exe, w.ExeBase64)
	return a
}

func (d *decoder) process(w processJSON) Process {
	p := Process(w.plainProcess)
	p.ID = event.ProcessID{PID: p.PID, Start: cmp.Or(w.StartBoot, w.StartLogged)}
	p.UID, p.GID, p.NoUID, p.NoGID = 0, 0, w.UID == nil, w.GID == nil
	if w.UID != nil {
		p.UID = *w.UID
	}
	if w.GID != nil {
		p.GID = *w.GID
	}
	p.Argv, p.Exe, p.Filename = d.argv(w.argvJSON), d.text(p.Exe, w.ExeBase64), d.text(p.Filename, w.FilenameBase64)
	p.Execs = each(w.Execs, d.program)
	return p
}

func (d *decoder) program(w programJSON) Program {
	p := Program(w.plainProgram)
	p.Argv, p.Exe = d.argv(w.argvJSON), d.text(p.Exe, w.ExeBase64)
	return p
}
