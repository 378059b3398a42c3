package field

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

// View is a session as conditions see it: every field has a value, is absent,
// or is unknown. It is made once per decision and shared by all rules; where
// several people may be the actor, there is another for each of them.
type View struct {
	s *session.Session
	// before says that the command has not run: what only running shows is
	// unknown.
	before bool
	// who is the actor: the session's, or one of its candidates.
	who     actorView
	self    value.Object
	request value.Object
	actor   value.Object
	target  value.Object
	level   value.Object
	api     value.Object
	unexpl  value.Object
	decided value.Object
	ran     []*Program // once asked for; see programList
	// values once read, by the slots of fields: many rules read the same few.
	read [slots]ref.Val
}

// slots is how many fields of sessions and their parts there are, at most.
const slots = 96

// actorView is an actor; known says that his identity is.
type actorView struct {
	a     *session.Actor
	known bool
	v     *View // whose actor it is; nil for a candidate in a list
}

// cache returns where a field's value is kept once it was read; nil when it is
// not.
func cache(it any, slot int) *ref.Val {
	switch it := it.(type) {
	case *View:
		return &it.read[slot]
	case *actorView:
		if it.v != nil {
			return &it.v.read[slot]
		}
	case *Program:
		return &it.read[slot]
	}
	return nil
}

// Begin makes the view one of a session of which somebody is the actor.
func (v *View) Begin(s *session.Session, who *session.Actor, before bool) {
	*v = View{s: s, before: before, who: actorView{who, known(who), v}}
	v.self = value.Object{Kind: SessionType, It: v}
	v.request = value.Object{Kind: RequestType, It: v}
	v.actor = value.Object{Kind: actorType, It: &v.who}
	v.target = value.Object{Kind: targetType, It: v}
	v.level = value.Object{Kind: attributionType, It: v}
	v.api = value.Object{Kind: apiType, It: v}
	v.unexpl, v.decided = value.Object{Kind: unexplainedType, It: v}, value.Object{Kind: decisionType, It: v}
}

// Self returns the session as conditions see it.
func (v *View) Self() ref.Val { return &v.self }

// known reports whether an actor's identity is: a daemon that acted by itself is
// known to be nobody.
func known(a *session.Actor) bool {
	return a.Kind != session.ActorNone && a.Kind != "" || a.Service != ""
}

// ResolveName implements cel.Activation.
func (v *View) ResolveName(name string) (any, bool) {
	switch name {
	case "session":
		return &v.self, true
	case "request":
		return &v.request, true
	}
	return tunable(name)
}

// Parent implements cel.Activation.
func (v *View) Parent() cel.Activation { return nil }

// asked reports whether what was asked for is known, and not only what came of it.
func (v *View) asked() bool {
	return v.before || v.s.ArgvSource == "request" || v.s.ArgvSource == "inspect"
}

// hasProcesses reports whether sessions of its kind run anything of their own.
func hasProcesses(k session.Kind) bool {
	switch k {
	case session.KindAttach, session.KindForward, session.KindProxy, session.KindChange, session.KindIdentity, session.KindDoor,
		session.KindCopy, session.KindRequest:
		return false
	case session.KindStart, session.KindExec, session.KindHealthcheck, session.KindEnter, session.KindRuntime,
		session.KindProbe, session.KindHook, session.KindDebug:
	}
	return true
}

// family returns the first part of a channel's id, "DK" of "DK-EXEC".
func family(c event.Channel) string {
	f, _, _ := strings.Cut(string(c), "-")
	return f
}

func (v *View) argv() ([]string, *types.Unknown) {
	s := v.s
	nobodyTold := len(s.Argv)+len(s.Processes) == 0
	if nobodyTold && (!hasProcesses(s.Kind) || v.before && s.ArgvSource == "request") {
		return nil, nil
	}
	argv, whole := key.Argv(s)
	if !whole {
		return argv, Unknown("argv")
	}
	return argv, nil
}

// command returns the argument list joined with blanks, which is all that some
// witnesses report.
func (v *View) command() ref.Val {
	argv, rest := v.argv()
	switch {
	case len(argv) > 0 && rest == nil:
		return types.String(strings.Join(argv, " "))
	case key.Joined(v.s) && len(v.s.Argv) > 0:
		return types.String(v.s.Argv[0])
	case rest != nil:
		return Unknown("command")
	}
	return value.Absent
}

// logged reports whether only another tool's log tells of what ran: it is a
// selection, and need not say everything of what it has.
func logged(s *session.Session) bool { return len(s.Processes) > 0 && s.Processes[0].ID.Logged() }

// created is when an exec was prepared, which Docker's are at another time than
// they start.
func (v *View) created() ref.Val {
	switch s := v.s; {
	case s.Created != nil:
		return types.Timestamp{Time: *s.Created}
	case s.Kind == session.KindExec && family(s.Channel) == "DK":
		return Unknown("created")
	}
	return value.Absent
}

func (v *View) carried() ref.Val {
	c := v.s.Carried
	l := &value.List{N: len(c), At: func(i int) ref.Val { return &value.Object{Kind: carriedType, It: &c[i]} }}
	if len(c) == session.MaxCarried || len(c) == 0 && v.s.Kind == session.KindChange && v.s.Target.HostAccess == nil {
		l.Rest = Unknown("carried") // the request was seen without its object
	}
	return l
}

// dockerUntold reports whether Docker runs something, and nobody told what it was
// asked: as which user, and whether privileged.
func (v *View) dockerUntold() bool {
	return !v.asked() && family(v.s.Channel) == "DK" && hasProcesses(v.s.Kind)
}

func (v *View) tty() ref.Val {
	s := v.s
	switch {
	case s.TTY:
		return types.True
	case v.asked(), len(s.Processes) > 0 && !logged(s), !hasProcesses(s.Kind) && s.Kind != session.KindAttach:
		return types.False
	}
	return Unknown("tty")
}

// stdin is false of what takes no input: what a daemon runs by itself, and what
// opens no stream to a process.
func (v *View) stdin() ref.Val {
	switch s := v.s; {
	case s.Stdin != nil:
		return types.Bool(*s.Stdin)
	case s.Kind == session.KindProbe || s.Kind == session.KindHook || s.Kind == session.KindHealthcheck,
		!hasProcesses(s.Kind) && s.Kind != session.KindAttach:
		return types.False
	}
	return Unknown("stdin")
}

// moreProcesses returns an unknown when more may have run than is kept.
func (v *View) moreProcesses() *types.Unknown {
	s := v.s
	switch {
	case v.before && hasProcesses(s.Kind), logged(s),
		s.ProcessesTotal > len(s.Processes), s.LostRecords > 0,
		len(s.Processes) == 0 && hasProcesses(s.Kind) && s.State != session.StateFailed:
		return Unknown("processes")
	}
	return nil
}

// pod returns what is known of a field that only containers of pods have.
func (v *View) pod(name, told string) ref.Val {
	switch t := &v.s.Target; {
	case told != "":
		return types.String(told)
	case HasNoNamespace(v.s):
		return value.Absent
	case t.Namespace != "" && (t.Pod != "" || !hasProcesses(v.s.Kind)):
		return value.Absent
	}
	return Unknown(name)
}

// HasNoNamespace reports whether a session without namespace is known to have
// none: what Docker runs is in no pod, some requests are about no namespace, and
// a container whose image or labels are known was looked at.
func HasNoNamespace(s *session.Session) bool {
	t := &s.Target
	switch {
	case t.Namespace != "" || t.Pod != "":
		return false
	case strings.HasPrefix(string(s.Channel), "DK-"):
		return true
	case strings.HasPrefix(string(s.Channel), "K8-"), strings.HasPrefix(string(s.Channel), "KL-"):
		return !hasProcesses(s.Kind)
	}
	return t.Image != "" || len(t.Labels) > 0
}

// hostAccess returns what of the host the container is given: nothing where a
// session is about no container.
func (v *View) hostAccess() ref.Val {
	switch h := v.s.Target.HostAccess; {
	case h != nil:
		return &value.Object{Kind: hostAccessType, It: h}
	case v.s.Kind == session.KindIdentity || v.s.Kind == session.KindDoor || v.s.Kind == session.KindRequest || v.s.Kind == session.KindProxy && v.s.Target.Pod == "":
		return noAccess
	}
	return Unknown("target.host_access")
}

// settings returns what else was asked for: nothing where nothing runs, and where
// something does only a guard's door knows. An object that is changed may have some.
func (v *View) settings() ref.Val {
	switch s := v.s; {
	case s.Settings != nil:
		return &value.Object{Kind: settingsType, It: s.Settings}
	case !hasProcesses(s.Kind) && s.Kind != session.KindChange && s.Kind != session.KindDebug:
		return noSettings
	}
	return Unknown("settings")
}

var noSettings = &value.Object{Kind: settingsType, It: &session.Settings{}}

var noAccess = &value.Object{Kind: hostAccessType, It: &event.HostAccess{}}

// image returns what is known of a field that every container has.
func (v *View) image(name, told string) ref.Val {
	if told == "" && (v.s.Target.ContainerID != "" || hasProcesses(v.s.Kind)) {
		return Unknown(name)
	}
	return value.Text(told)
}
