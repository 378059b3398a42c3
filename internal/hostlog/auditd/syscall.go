package auditd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/hostlog/lineage"
)

// syscall is one event: what its records say.
type syscall struct {
	id       id
	at       time.Time
	complete bool
	called   bool // a SYSCALL record came

	arch, number string
	success      bool
	a0           string
	pid, ppid    uint32
	cred         event.Cred
	tty          string
	comm, exe    string
	filename     string

	argc   int
	listed bool // an EXECVE record came
	args   [][]byte
	size   int
	broken bool // a record of the list could not be read
}

// argsMax bounds an argument list; the kernel's own bound is a quarter of the
// stack's, 2 MiB as a rule.
const (
	argsMax  = 4 << 20
	argcMax  = 1 << 17
	fieldMax = 64 // of the fields of a record that are looked at
)

var (
	errField = errors.New("a field that cannot be read")
	errLong  = errors.New("an argument list that is too long")
)

// record takes one record of the event.
func (e *syscall) record(kind string, body []byte) error {
	switch kind {
	case "SYSCALL":
		if e.called {
			return fmt.Errorf("%w: a second SYSCALL record", errField)
		}
		e.called = true
		return fields(body, e.field)
	case "EXECVE":
		e.listed = true
		err := fields(body, e.argument)
		e.broken = e.broken || err != nil
		return err
	}
	path := struct{ item, name string }{}
	err := fields(body, func(key string, value []byte) error {
		switch key {
		case "item":
			path.item = string(value)
		case "name":
			s, err := text(value)
			path.name = string(s)
			return err
		}
		return nil
	})
	if path.item == "0" {
		e.filename = path.name
	}
	return err
}

// field takes a field of the SYSCALL record.
func (e *syscall) field(key string, value []byte) error {
	number := func(to *uint32) error {
		n, err := strconv.ParseUint(string(value), 10, 32)
		*to = uint32(n)
		return err
	}
	optional := func(to **uint32) error {
		var n uint32
		err := number(&n)
		if n != 1<<32-1 {
			*to = &n
		}
		return err
	}
	switch key {
	case "arch":
		e.arch = string(value)
	case "syscall":
		e.number = string(value)
	case "success":
		e.success = string(value) == "yes"
	case "a0":
		e.a0 = string(value)
	case "pid":
		return number(&e.pid)
	case "ppid":
		return number(&e.ppid)
	case "auid":
		return optional(&e.cred.LoginUID)
	case "ses":
		return optional(&e.cred.AuditSession)
	case "uid":
		return number(&e.cred.UID)
	case "gid":
		return number(&e.cred.GID)
	case "tty":
		e.tty = terminal(string(value))
	case "comm":
		s, err := text(value)
		e.comm = string(s)
		return err
	case "exe":
		s, err := text(value)
		e.exe = string(s)
		return err
	}
	return nil
}

// terminal turns "pts0" into "pts/0".
func terminal(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }) {
		return ""
	}
	if n, ok := strings.CutPrefix(s, "pts"); ok && n != "" && n[0] != '/' {
		return "pts/" + n
	}
	if s == "(none)" {
		return ""
	}
	return s
}

// argument takes a field of an EXECVE record: argc, aN, aN_len, aN[M]. The
// pieces of an argument follow one another.
func (e *syscall) argument(key string, value []byte) error {
	if key == "argc" {
		n, err := strconv.Atoi(string(value))
		if err != nil || n < 0 || n > argcMax {
			return fmt.Errorf("%w: argc %.20q", errField, value)
		}
		e.argc = n
		return nil
	}
	name, ok := strings.CutPrefix(key, "a")
	if !ok || strings.HasSuffix(name, "_len") {
		return nil
	}
	name, piece, inPieces := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	n, err := strconv.Atoi(name)
	if err != nil {
		return nil // a field of a kind that is not known here
	}
	data, err := text(value)
	switch {
	case err != nil:
		return err
	case e.size+len(data) > argsMax:
		return errLong
	case inPieces && piece != "0" && n == len(e.args)-1:
		e.args[n] = append(e.args[n], data...)
	case n == len(e.args) && n < argcMax && (!inPieces || piece == "0"):
		e.args = append(e.args, bytes.Clone(data))
	default:
		return fmt.Errorf("%w: argument %.20q out of order", errField, key)
	}
	e.size += len(data)
	return nil
}

// executed reports whether the event is a program that was run.
func (e *syscall) executed() bool { return e.called && e.listed && e.success && e.pid != 0 }

// exits are the system calls that end a process, by audit's architecture and
// number: exit_group (unistd_64.h and unistd_32.h of x86, asm-generic).
var exits = map[[2]string]bool{
	{"c000003e", "231"}: true, {"40000003", "252"}: true, {"c00000b7", "94"}: true,
}

func (e *syscall) exited() bool {
	return e.called && e.pid != 0 && exits[[2]string{e.arch, e.number}]
}

// status is the status that exit_group was given: a0, in hexadecimal.
func (e *syscall) status() *int {
	n, err := strconv.ParseUint(e.a0, 16, 64)
	if err != nil {
		return nil
	}
	code := int(n & 0xff)
	return &code
}

func (e *syscall) seen() lineage.Seen {
	s := lineage.Seen{
		Time: e.at, Node: e.id.node, PID: e.pid, PPID: e.ppid, Name: event.Text(e.comm), Filename: event.Text(e.filename),
		Exe: event.Executable{Path: event.Text(e.exe)}, Cred: e.cred, TTY: e.tty,
	}
	if !e.broken {
		for _, a := range e.args {
			s.Argv.Args = append(s.Argv.Args, string(a))
		}
	}
	s.Argv.Truncated = e.broken || len(e.args) != e.argc
	return s
}

// fields gives each "key=value" of a record to take. A value is a word, or a
// string in quotes.
func fields(b []byte, take func(key string, value []byte) error) error {
	for {
		b = bytes.TrimLeft(b, " ")
		if len(b) == 0 {
			return nil
		}
		key, rest, ok := bytes.Cut(b, []byte("="))
		if !ok {
			return fmt.Errorf("%w: %.20q", errField, b)
		}
		if i := bytes.LastIndexByte(key, ' '); i >= 0 {
			key = key[i+1:] // words without a value, as after "op="
		}
		end := bytes.IndexByte(rest, ' ')
		if len(rest) > 0 && rest[0] == '"' {
			if end = bytes.IndexByte(rest[1:], '"'); end < 0 {
				return fmt.Errorf("%w: %.20q is not closed", errField, key)
			}
			end += 2
		}
		if end < 0 {
			end = len(rest)
		}
		if err := take(string(key[:min(len(key), fieldMax)]), rest[:end]); err != nil {
			return err
		}
		b = rest[end:]
	}
}

// text decodes an untrusted string: in quotes it stands for itself, else it is in
// hexadecimal. "(null)" is none.
func text(v []byte) ([]byte, error) {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1], nil
	}
	if string(v) == "(null)" || string(v) == "?" {
		return nil, nil
	}
	out := make([]byte, hex.DecodedLen(len(v)))
	if _, err := hex.Decode(out, v); err != nil {
		return nil, fmt.Errorf("%w: %.20q is no string", errField, v)
	}
	return out, nil
}
