package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Person is somebody who answers for others' requests: the process at the other
// end of a unix socket.
type Person struct {
	session.Actor
	// Groups are all of the process, its first one and the supplementary ones.
	Groups []uint32
}

// Approvers are those who may answer. The zero value is nobody.
type Approvers struct{ UIDs, GIDs []uint32 }

// may says why somebody may not answer, if so.
func (a Approvers) may(by *Person) error {
	switch {
	case by.Kind != session.ActorUnix || by.UID == nil || !seen(&by.Actor):
		return fmt.Errorf("%w: nobody can tell who asks; try again", ErrNotApprover)
	case by.Container != "":
		// Who gives a container the socket does not mean whoever is root in it.
		return fmt.Errorf("%w: answers come from the host, and this process runs in container %s", ErrNotApprover, by.Container.Short())
	case slices.Contains(a.UIDs, *by.UID):
		return nil
	case slices.ContainsFunc(by.Groups, func(g uint32) bool { return slices.Contains(a.GIDs, g) }):
		return nil
	}
	return fmt.Errorf("%w: %s is none of them", ErrNotApprover, nameOf(&by.Actor))
}

// seen reports whether it is known who an actor is, well enough to tell another
// person from him. Of a unix actor whose process was gone before anybody looked,
// only the uid is known: it may be somebody else by sudo.
func seen(a *session.Actor) bool {
	switch a.Kind {
	case session.ActorUnix:
		return a.UID != nil && a.Exe != ""
	case session.ActorTLS:
		return a.User != ""
	case session.ActorKubernetes, session.ActorNone:
	}
	return false
}

// samePerson reports whether who answers is, or may be, who asked. Two login uids
// tell; where one of them is missing, no uid of the one may be one of the other.
func samePerson(asker, by *session.Actor) bool {
	if asker.Kind == session.ActorTLS {
		return sameName(asker.User, by)
	}
	if asker.LoginUID != nil && by.LoginUID != nil {
		return *asker.LoginUID == *by.LoginUID
	}
	for _, a := range []*uint32{asker.UID, asker.LoginUID} {
		if a != nil && (equal(a, by.UID) || equal(a, by.LoginUID)) {
			return true
		}
	}
	return false
}

// sameName reports whether a certificate's name is, or may be, that of a user of
// this host: also in other letters, as that of a mailbox, or while it is not known
// what he is called.
func sameName(name string, by *session.Actor) bool {
	name, _, _ = strings.Cut(name, "@")
	if by.User == "" || by.LoginUID != nil && by.LoginUser == "" && !equal(by.LoginUID, by.UID) {
		return true
	}
	return strings.EqualFold(name, by.User) || strings.EqualFold(name, by.LoginUser)
}

// hand is one identity at one place; a client may well use several processes. It
// is "" for nobody, who is the same as nobody.
func hand(a *session.Actor) string {
	switch a.Kind {
	case session.ActorUnix:
		return fmt.Sprintf("unix %s %s %q", number(a.UID), number(a.LoginUID), a.Container)
	case session.ActorTLS:
		if a.User != "" {
			return fmt.Sprintf("tls %q %q", a.User, a.Container)
		}
	case session.ActorKubernetes, session.ActorNone:
	}
	return ""
}

func number(n *uint32) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(uint64(*n), 10)
}

// nameOf names an actor in few words, and who he is besides, if that is known.
func nameOf(a *session.Actor) string {
	name := a.User
	switch {
	case name == "" && a.UID == nil:
		return "somebody unknown"
	case name == "":
		name = "uid " + number(a.UID)
	}
	switch {
	case a.LoginUser != "":
		name += " (login " + a.LoginUser + ")"
	case a.LoginUID != nil && !equal(a.LoginUID, a.UID):
		name += " (login uid " + number(a.LoginUID) + ")"
	}
	return name
}

// keyOf returns what two requests have in common that are the same: hand, rule,
// channel, target, command, and whatever else is asked for. It is "" when that
// cannot be told, as of a command of which only a part is known.
func keyOf(s *session.Session, rule string) string {
	by, argv := hand(&s.Actor), key.ArgvHash(s)
	if by == "" || argv == "" && (s.Kind == session.KindExec || s.Kind == session.KindStart) {
		return ""
	}
	same := *s
	same.ID, same.Revision, same.ExecID = "", 0, ""
	same.Started, same.Created = time.Time{}, nil
	same.Actor, same.Attribution = session.Actor{}, session.Attribution{}
	same.Argv = nil
	text, err := json.Marshal(same)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %s", by, rule, argv, text))
	return hex.EncodeToString(sum[:])
}
