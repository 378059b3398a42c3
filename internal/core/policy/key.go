package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

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
	v := view{s: s}
	argv, rest := v.argv()
	if rest != nil || len(argv) == 0 {
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

// command returns the argument list joined with blanks, which is all that some
// witnesses report.
func (v *view) command() ref.Val {
	argv, rest := v.argv()
	switch {
	case len(argv) > 0 && rest == nil:
		return types.String(strings.Join(argv, " "))
	case joined(v.s) && len(v.s.Argv) > 0:
		return types.String(v.s.Argv[0])
	case rest != nil:
		return unknownOf("command")
	}
	return absent
}
