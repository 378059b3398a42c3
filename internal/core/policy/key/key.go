// Package key names who asked, where, and for what, each as one text: for the
// suppressions that people write, and for doors that know a command again.
//
// A name is "" when what it names is not known as a whole: nothing is to be
// taken for the same on a guess.
package key

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Identity returns an actor as suppressions name him: the kind of identity, a
// slash, and who it is, for example "kubernetes/alice", "unix/1000" or
// "kubernetes/admin as bob" for an impersonator; "" when nobody is known. A
// unix actor goes by the uid that logged in where there is one: names can be
// given away, and root by sudo is still somebody.
func Identity(a session.Actor) string {
	name := a.User
	switch {
	case a.Service != "":
		return "service/" + string(a.Service)
	case a.Kind == session.ActorUnix && a.LoginUID != nil:
		name = strconv.FormatUint(uint64(*a.LoginUID), 10)
	case a.Kind == session.ActorUnix && a.UID != nil:
		name = strconv.FormatUint(uint64(*a.UID), 10)
	case a.Kind == session.ActorNone || a.Kind == "" || name == "":
		return ""
	}
	if a.Impersonator != nil {
		name = a.Impersonator.User + " as " + name
	}
	return string(a.Kind) + "/" + name
}

// Workload returns a target as suppressions name it: "NAMESPACE/KIND/NAME" in
// Kubernetes, "NAME@IMAGE" for other containers; "" when it is not known.
func Workload(t session.Target) string {
	switch {
	case t.Namespace != "" && t.Workload != "":
		return t.Namespace + "/" + t.Workload
	case t.Namespace != "" && t.Pod != "":
		return t.Namespace + "/Pod/" + t.Pod
	case t.ContainerName != "" && t.Image != "":
		return t.ContainerName + "@" + t.Image
	}
	return ""
}

// ArgvHash returns the SHA-256 of an argument list, in hex, with the length of
// each argument before it, so that no two lists have one hash. It is "" for a
// session whose whole list is not known.
func ArgvHash(s *session.Session) string {
	argv, whole := Argv(s)
	if !whole || len(argv) == 0 {
		return ""
	}
	h := sha256.New()
	var size [8]byte
	for _, a := range argv {
		binary.BigEndian.PutUint64(size[:], uint64(len(a)))
		h.Write(size[:])
		h.Write([]byte(a))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Argv returns the arguments of what entered: as they were asked for, else as
// the first program had them. It returns false when it is not known that these
// are all of them and divided as they were.
func Argv(s *session.Session) (argv []string, whole bool) {
	switch {
	case len(s.Argv) > 0 && !Joined(s):
		return s.Argv, true
	case len(s.Processes) > 0 && (len(s.Argv) == 0 || len(s.Processes[0].Argv) > 0):
		return firstArgv(&s.Processes[0])
	}
	return nil, false
}

// Joined reports whether the command of a session is one string, its quoting
// lost.
func Joined(s *session.Session) bool { return s.ArgvSource == "event" || s.ArgvSource == "log" }

// firstArgv returns the arguments of the first program of a process: what it ran
// later is not what entered. Of a joined command none is known.
func firstArgv(p *session.Process) (argv []string, whole bool) {
	joined := p.ArgvJoined
	argv, whole = p.Argv, p.ArgvHash == ""
	if len(p.Execs) > 0 {
		argv, whole, joined = p.Execs[0].Argv, true, p.Execs[0].ArgvJoined
	}
	if joined {
		return nil, false
	}
	return argv, whole
}
