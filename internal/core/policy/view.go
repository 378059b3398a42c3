package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// view is a session as conditions see it: every field has a value, is absent,
// or is unknown. It is made once per decision and shared by all rules; where
// several people may be the actor, there is another for each of them.
type view struct {
	s *session.Session
	// before says that the command has not run: what only running shows is
	// unknown.
	before bool
	// who is the actor: the session's, or one of its candidates.
	who     actorView
	self    object
	request object
	actor   object
	target  object
	level   object
	api     object
	unexpl  object
	decided object
	size    int8       // 0: not looked at; see usual
	ran     []*program // once asked for; see programList
	// values once read, by the slots of fields: many rules read the same few.
	read [slots]ref.Val
}

// slots is how many fields of sessions and their parts there are, at most.
const slots = 96

// actorView is an actor; known says that his identity is.
type actorView struct {
	a     *session.Actor
	known bool
	v     *view // whose actor it is; nil for a candidate in a list
}

// cache returns where a field's value is kept once it was read; nil when it is
// not.
func cache(it any, slot int) *ref.Val {
	switch it := it.(type) {
	case *view:
		return &it.read[slot]
	case *actorView:
		if it.v != nil {
			return &it.v.read[slot]
		}
	case *program:
		return &it.read[slot]
	}
	return nil
}

// begin makes the view one of a session of which somebody is the actor.
func (v *view) begin(s *session.Session, who *session.Actor, before bool) {
	*v = view{s: s, before: before, who: actorView{who, known(who), v}}
	v.self = object{sessionType, v}
	v.request = object{requestType, v}
	v.actor = object{actorType, &v.who}
	v.target = object{targetType, v}
	v.level = object{attributionType, v}
	v.api = object{apiType, v}
	v.unexpl, v.decided = object{unexplainedType, v}, object{decisionType, v}
}

// known reports whether an actor's identity is: a daemon that acted by itself is
// known to be nobody.
func known(a *session.Actor) bool {
	return a.Kind != session.ActorNone && a.Kind != "" || a.Service != ""
}

// ResolveName implements cel.Activation.
func (v *view) ResolveName(name string) (any, bool) {
	switch name {
	case "session":
		return &v.self, true
	case "request":
		return &v.request, true
	}
	return tunable(name)
}

// Parent implements cel.Activation.
func (v *view) Parent() cel.Activation { return nil }

// asked reports whether what was asked for is known, and not only what came of it.
func (v *view) asked() bool {
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

func (v *view) argv() ([]string, *types.Unknown) {
	s := v.s
	switch {
	case len(s.Argv) > 0 && joined(s): // with blanks: what the arguments were is lost
		if len(s.Processes) > 0 && len(s.Processes[0].Argv) > 0 {
			return firstArgv(&s.Processes[0])
		}
		return nil, unknownOf("argv")
	case len(s.Argv) > 0:
		return s.Argv, nil
	case len(s.Processes) > 0:
		return firstArgv(&s.Processes[0])
	case !hasProcesses(s.Kind), v.before && s.ArgvSource == "request":
		return nil, nil
	}
	return nil, unknownOf("argv")
}

// joined reports whether the command is one string, its quoting lost.
func joined(s *session.Session) bool { return s.ArgvSource == "event" || s.ArgvSource == "log" }

// logged reports whether only another tool's log tells of what ran: it is a
// selection, and need not say everything of what it has.
func logged(s *session.Session) bool { return len(s.Processes) > 0 && s.Processes[0].ID.Logged() }

// first returns the first program of a process: what it ran later is not what
// entered.
func first(p *session.Process) (argv []string, truncated bool) {
	if len(p.Execs) > 0 {
		return p.Execs[0].Argv, false
	}
	return p.Argv, p.ArgvHash != ""
}

// firstArgv returns the arguments of the first program of a process. Of a joined
// command none is known.
func firstArgv(p *session.Process) ([]string, *types.Unknown) {
	argv, truncated := first(p)
	if p.ArgvJoined && len(p.Execs) == 0 || len(p.Execs) > 0 && p.Execs[0].ArgvJoined {
		return nil, unknownOf("argv")
	}
	return processArgv(argv, truncated)
}

func processArgv(argv []string, truncated bool) ([]string, *types.Unknown) {
	if truncated {
		return argv, unknownOf("argv")
	}
	return argv, nil
}

// created is when an exec was prepared, which Docker's are at another time than
// they start.
func (v *view) created() ref.Val {
	switch s := v.s; {
	case s.Created != nil:
		return types.Timestamp{Time: *s.Created}
	case s.Kind == session.KindExec && family(s.Channel) == "DK":
		return unknownOf("created")
	}
	return absent
}

func (v *view) carried() ref.Val {
	c := v.s.Carried
	l := &list{n: len(c), at: func(i int) ref.Val { return &object{carriedType, &c[i]} }}
	if len(c) == session.MaxCarried || len(c) == 0 && v.s.Kind == session.KindChange && v.s.Target.HostAccess == nil {
		l.rest = unknownOf("carried") // the request was seen without its object
	}
	return l
}

// dockerUntold reports whether Docker runs something, and nobody told what it was
// asked: as which user, and whether privileged.
func (v *view) dockerUntold() bool {
	return !v.asked() && family(v.s.Channel) == "DK" && hasProcesses(v.s.Kind)
}

func (v *view) tty() ref.Val {
	s := v.s
	switch {
	case s.TTY:
		return types.True
	case v.asked(), len(s.Processes) > 0 && !logged(s), !hasProcesses(s.Kind) && s.Kind != session.KindAttach:
		return types.False
	}
	return unknownOf("tty")
}

// stdin is false of what takes no input: what a daemon runs by itself, and what
// opens no stream to a process.
func (v *view) stdin() ref.Val {
	switch s := v.s; {
	case s.Stdin != nil:
		return types.Bool(*s.Stdin)
	case s.Kind == session.KindProbe || s.Kind == session.KindHook || s.Kind == session.KindHealthcheck,
		!hasProcesses(s.Kind) && s.Kind != session.KindAttach:
		return types.False
	}
	return unknownOf("stdin")
}

// moreProcesses returns an unknown when more may have run than is kept.
func (v *view) moreProcesses() *types.Unknown {
	s := v.s
	switch {
	case v.before && hasProcesses(s.Kind), logged(s),
		s.ProcessesTotal > len(s.Processes), s.LostRecords > 0,
		len(s.Processes) == 0 && hasProcesses(s.Kind) && s.State != session.StateFailed:
		return unknownOf("processes")
	}
	return nil
}

// pod returns what is known of a field that only containers of pods have.
func (v *view) pod(name, value string) ref.Val {
	switch t := &v.s.Target; {
	case value != "":
		return types.String(value)
	case hasNoNamespace(v.s):
		return absent
	case t.Namespace != "" && (t.Pod != "" || !hasProcesses(v.s.Kind)):
		return absent
	}
	return unknownOf(name)
}

// hasNoNamespace reports whether a session without namespace is known to have
// none: what Docker runs is in no pod, some requests are about no namespace, and
// a container whose image or labels are known was looked at.
func hasNoNamespace(s *session.Session) bool {
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
func (v *view) hostAccess() ref.Val {
	switch h := v.s.Target.HostAccess; {
	case h != nil:
		return &object{hostAccessType, h}
	case v.s.Kind == session.KindIdentity || v.s.Kind == session.KindDoor || v.s.Kind == session.KindRequest || v.s.Kind == session.KindProxy && v.s.Target.Pod == "":
		return noAccess
	}
	return unknownOf("target.host_access")
}

// settings returns what else was asked for: nothing where nothing runs, and where
// something does only a guard's door knows. An object that is changed may have some.
func (v *view) settings() ref.Val {
	switch s := v.s; {
	case s.Settings != nil:
		return &object{settingsType, s.Settings}
	case !hasProcesses(s.Kind) && s.Kind != session.KindChange && s.Kind != session.KindDebug:
		return noSettings
	}
	return unknownOf("settings")
}

var noSettings = &object{settingsType, &session.Settings{}}

var noAccess = &object{hostAccessType, &event.HostAccess{}}

// image returns what is known of a field that every container has.
func (v *view) image(name, value string) ref.Val {
	if value == "" && (v.s.Target.ContainerID != "" || hasProcesses(v.s.Kind)) {
		return unknownOf(name)
	}
	return text(value)
}
