package policy

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The types of the language, named as a person names them in an error.
var (
	sessionType     = cel.ObjectType("Session")
	requestType     = cel.ObjectType("Request")
	attributionType = cel.ObjectType("Attribution")
	actorType       = cel.ObjectType("Actor")
	identityType    = cel.ObjectType("Identity")
	targetType      = cel.ObjectType("Target")
	hostAccessType  = cel.ObjectType("HostAccess")
	settingsType    = cel.ObjectType("Settings")
	processType     = cel.ObjectType("Process")
	programType     = cel.ObjectType("Program")
	unexplainedType = cel.ObjectType("Unexplained")
	decisionType    = cel.ObjectType("Decision")
	carriedType     = cel.ObjectType("Carried")
	evidenceType    = cel.ObjectType("Evidence")
	listsType       = cel.ObjectType("Lists")
	valuesType      = cel.ObjectType("Values")

	textList = cel.ListType(cel.StringType)
	textMap  = cel.MapType(cel.StringType, cel.StringType)
	extraMap = cel.MapType(cel.StringType, textList)
)

// field is one field of a type. Its name is that of the JSON form of sessions.
type field struct {
	name string
	typ  *cel.Type
	get  func(it any) ref.Val
	// slot is where a view keeps the value, the same for session and request.
	slot int
}

// fieldsOf lists the fields of each type. It is a function so that the getters
// may use what is made from it.
func fieldsOf() map[*cel.Type][]field {
	all := map[*cel.Type][]field{
		sessionType: sessionFields(), attributionType: attributionFields(), actorType: actorFields(),
		identityType: identityFields(), targetType: targetFields(), hostAccessType: hostAccessFields(), processType: processFields(),
		programType: programFields(), unexplainedType: unexplainedFields(), decisionType: decisionFields(), evidenceType: evidenceFields(),
		apiType:     apiFields(),
		carriedType: carriedFields(), settingsType: settingsFields(),
	}
	slot := 0
	for _, t := range []*cel.Type{sessionType, attributionType, actorType, targetType, unexplainedType, decisionType, apiType} {
		for i := range all[t] {
			all[t][i].slot = slot
			slot++
		}
	}
	for i := range all[programType] {
		all[programType][i].slot = i
	}
	all[requestType] = all[sessionType][:len(askedFields())]
	return all
}

// of makes a getter for fields of a Go type.
func of[T any](get func(T) ref.Val) func(any) ref.Val {
	return func(it any) ref.Val { return get(it.(T)) }
}

func before(name string, typ *cel.Type, get func(*view) ref.Val) field {
	return field{name: name, typ: typ, get: of(get)}
}

func after(name string, typ *cel.Type, get func(*view) ref.Val) field {
	return field{name: name, typ: typ, get: of(func(v *view) ref.Val {
		if v.before {
			return unknownOf(name)
		}
		return get(v)
	})}
}

func sessionFields() []field { return append(askedFields(), ranFields()...) }

// askedFields are those of requests, too.
func askedFields() []field {
	return []field{
		before("id", cel.StringType, func(v *view) ref.Val { return text(string(v.s.ID)) }),
		before("kind", cel.StringType, func(v *view) ref.Val { return types.String(v.s.Kind) }),
		before("channel", cel.StringType, func(v *view) ref.Val { return types.String(v.s.Channel) }),
		before("created", cel.TimestampType, (*view).created),
		before("started", cel.TimestampType, func(v *view) ref.Val { return types.Timestamp{Time: v.s.Started} }),
		before("attribution", attributionType, func(v *view) ref.Val { return &v.level }),
		before("actor", actorType, func(v *view) ref.Val { return &v.actor }),
		before("target", targetType, func(v *view) ref.Val { return &v.target }),
		before("argv", textList, func(v *view) ref.Val {
			argv, rest := v.argv()
			return &list{n: len(argv), at: boxed(argv), rest: rest}
		}),
		before("argv_source", cel.StringType, func(v *view) ref.Val { return text(v.s.ArgvSource) }),
		before("command", cel.StringType, (*view).command),
		before("tty", cel.BoolType, (*view).tty),
		before("stdin", cel.BoolType, (*view).stdin),
		before("user", cel.StringType, func(v *view) ref.Val {
			if v.s.User == "" && v.dockerUntold() {
				return unknownOf("user")
			}
			return text(v.s.User)
		}),
		before("privileged", cel.BoolType, func(v *view) ref.Val {
			if !v.s.Privileged && v.dockerUntold() {
				return unknownOf("privileged")
			}
			return types.Bool(v.s.Privileged)
		}),
		before("path", cel.StringType, func(v *view) ref.Val { return text(v.s.Path) }),
		before("direction", cel.StringType, func(v *view) ref.Val { return text(v.s.Direction) }),
		before("carried", cel.ListType(carriedType), (*view).carried),
		before("settings", settingsType, (*view).settings),
		before("audit_id", cel.StringType, func(v *view) ref.Val { return text(string(v.s.AuditID)) }),
		before("verb", cel.StringType, (*view).verb),
		before("api", apiType, func(v *view) ref.Val { return &v.api }),
	}
}

// ranFields are what only running shows.
func ranFields() []field {
	return []field{
		after("state", cel.StringType, func(v *view) ref.Val { return types.String(v.s.State) }),
		after("ended", cel.TimestampType, func(v *view) ref.Val {
			if v.s.Ended == nil {
				return absent
			}
			return types.Timestamp{Time: *v.s.Ended}
		}),
		after("exit_code", cel.IntType, func(v *view) ref.Val {
			switch {
			case v.s.ExitCode != nil:
				return types.Int(*v.s.ExitCode)
			case v.s.State == session.StateEnded && hasProcesses(v.s.Kind):
				return unknownOf("exit_code")
			}
			return absent
		}),
		after("exec_id", cel.StringType, func(v *view) ref.Val { return text(string(v.s.ExecID)) }),
		after("processes", cel.ListType(processType), func(v *view) ref.Val {
			p := v.s.Processes
			return objects(processType, len(p), func(i int) any { return &p[i] }, v.moreProcesses())
		}),
		after("processes_total", cel.IntType, func(v *view) ref.Val {
			if v.s.LostRecords > 0 || v.s.ProcessesTotal == 0 && v.moreProcesses() != nil {
				return unknownOf("processes_total")
			}
			return types.Int(v.s.ProcessesTotal)
		}),
		after("programs", cel.ListType(programType), func(v *view) ref.Val {
			all := v.programList()
			return &list{n: len(all), at: func(i int) ref.Val { return &all[i].self }, rest: v.moreProcesses()}
		}),
		after("unexplained", unexplainedType, func(v *view) ref.Val { return &v.unexpl }),
		after("decision", decisionType, func(v *view) ref.Val { return &v.decided }),
		after("lost_records", cel.IntType, func(v *view) ref.Val { return types.Int(v.s.LostRecords) }),
		after("gaps", textList, func(v *view) ref.Val { return texts(v.s.Gaps) }),
		after("evidence", cel.ListType(evidenceType), func(v *view) ref.Val {
			e := v.s.Evidence
			return objects(evidenceType, len(e), func(i int) any { return &e[i] }, nil)
		}),
	}
}

func attributionFields() []field {
	return []field{
		before("level", cel.StringType, func(v *view) ref.Val { return text(string(v.s.Attribution.Level)) }),
		before("via", textList, func(v *view) ref.Val { return texts(v.s.Attribution.Via) }),
		before("candidates", cel.ListType(actorType), func(v *view) ref.Val {
			c := v.s.Attribution.Candidates
			return objects(actorType, len(c), func(i int) any { return &actorView{&c[i], known(&c[i]), nil} }, nil)
		}),
	}
}

// identity makes a field of an actor that is unknown as long as he is.
func identity(name string, get func(*session.Actor) string) field {
	return who(name, cel.StringType, func(a *session.Actor) ref.Val { return text(get(a)) })
}

func who(name string, typ *cel.Type, get func(*session.Actor) ref.Val) field {
	return field{name: name, typ: typ, get: of(func(w *actorView) ref.Val {
		v := get(w.a)
		if l, ok := v.(*list); !w.known && (v == absent || ok && l.n == 0) {
			return unknownOf("actor." + name)
		}
		return v
	})}
}

// objects returns a list of objects, each made once.
func objects(typ *cel.Type, n int, it func(i int) any, rest *types.Unknown) ref.Val {
	all := make([]object, n)
	for i := range all {
		all[i] = object{typ, it(i)}
	}
	return &list{n: n, at: func(i int) ref.Val { return &all[i] }, rest: rest}
}

// boxed returns the elements of a list, each made a value once.
func boxed(all []string) func(int) ref.Val {
	values := make([]ref.Val, len(all))
	return func(i int) ref.Val {
		if values[i] == nil {
			values[i] = types.String(all[i])
		}
		return values[i]
	}
}

func number(n *uint32) ref.Val {
	if n == nil {
		return absent
	}
	return types.Int(*n)
}

func actorFields() []field {
	return []field{
		who("kind", cel.StringType, func(a *session.Actor) ref.Val {
			if a.Kind == session.ActorNone && a.Service == "" {
				return absent // nobody is named: unknown
			}
			return text(string(a.Kind))
		}),
		identity("user", func(a *session.Actor) string { return a.User }),
		who("uid", cel.IntType, func(a *session.Actor) ref.Val { return number(a.UID) }),
		who("login_uid", cel.IntType, func(a *session.Actor) ref.Val { return number(a.LoginUID) }),
		identity("login_user", func(a *session.Actor) string { return a.LoginUser }),
		who("pid", cel.IntType, func(a *session.Actor) ref.Val {
			if a.PID == 0 {
				return absent
			}
			return types.Int(a.PID)
		}),
		identity("exe", func(a *session.Actor) string { return a.Exe }),
		who("argv", textList, func(a *session.Actor) ref.Val { return texts(a.Argv) }),
		identity("address", func(a *session.Actor) string { return a.Address }),
		identity("service", func(a *session.Actor) string { return string(a.Service) }),
		identity("user_agent", func(a *session.Actor) string { return a.UserAgent }),
		who("names", textList, func(a *session.Actor) ref.Val { return texts(a.Names) }),
		identity("container", func(a *session.Actor) string { return string(a.Container) }),
		identity("session", func(a *session.Actor) string { return string(a.Session) }),
		identity("kubernetes_uid", func(a *session.Actor) string { return a.KubeUID }),
		who("groups", textList, func(a *session.Actor) ref.Val { return texts(a.Groups) }),
		{name: "extra", typ: extraMap, get: of(func(w *actorView) ref.Val {
			if !w.known && len(w.a.Extra) == 0 {
				return unknownOf("actor.extra")
			}
			return newDict(extraMap, types.NewDynamicMap(types.DefaultTypeAdapter, w.a.Extra))
		})},
		who("impersonator", identityType, func(a *session.Actor) ref.Val {
			if a.Impersonator == nil {
				return absent
			}
			return &object{identityType, a.Impersonator}
		}),
		{name: "deputy", typ: cel.BoolType, get: of(func(w *actorView) ref.Val {
			if !w.known && !w.a.Deputy {
				return unknownOf("actor.deputy")
			}
			return types.Bool(w.a.Deputy)
		})},
		{name: "doubts", typ: textList, get: of(func(w *actorView) ref.Val { return texts(w.a.Doubts) })},
		{name: "identity", typ: cel.StringType, get: of(func(w *actorView) ref.Val {
			if !w.known {
				return unknownOf("actor.identity")
			}
			return text(Identity(*w.a))
		})},
	}
}

func identityFields() []field {
	get := func(name string, get func(*session.Identity) ref.Val, typ *cel.Type) field {
		return field{name: name, typ: typ, get: of(get)}
	}
	return []field{
		get("user", func(i *session.Identity) ref.Val { return text(i.User) }, cel.StringType),
		get("uid", func(i *session.Identity) ref.Val { return text(i.UID) }, cel.StringType),
		get("groups", func(i *session.Identity) ref.Val { return texts(i.Groups) }, textList),
		get("extra", func(i *session.Identity) ref.Val {
			return newDict(extraMap, types.NewDynamicMap(types.DefaultTypeAdapter, i.Extra))
		}, extraMap),
	}
}

func targetFields() []field {
	every := func(name string, get func(*session.Target) string) field {
		return before(name, cel.StringType, func(v *view) ref.Val { return v.image("target."+name, get(&v.s.Target)) })
	}
	ofPod := func(name string, get func(*session.Target) string) field {
		return before(name, cel.StringType, func(v *view) ref.Val { return v.pod("target."+name, get(&v.s.Target)) })
	}
	return []field{
		every("container_id", func(t *session.Target) string { return string(t.ContainerID) }),
		every("container_name", func(t *session.Target) string { return t.ContainerName }),
		every("image", func(t *session.Target) string { return t.Image }),
		every("image_id", func(t *session.Target) string { return t.ImageID }),
		before("runtime", cel.StringType, func(v *view) ref.Val { return text(v.s.Target.Runtime) }),
		before("labels", textMap, func(v *view) ref.Val {
			if t := &v.s.Target; len(t.Labels) == 0 && t.Image == "" && hasProcesses(v.s.Kind) {
				return unknownOf("target.labels")
			}
			return newDict(textMap, types.NewStringStringMap(types.DefaultTypeAdapter, v.s.Target.Labels))
		}),
		ofPod("pod", func(t *session.Target) string { return t.Pod }),
		ofPod("pod_uid", func(t *session.Target) string { return t.PodUID }),
		ofPod("namespace", func(t *session.Target) string { return t.Namespace }),
		before("workload", cel.StringType, func(v *view) ref.Val { return text(v.s.Target.Workload) }),
		before("node", cel.StringType, func(v *view) ref.Val { return text(v.s.Target.Node) }),
		before("host_access", hostAccessType, (*view).hostAccess),
	}
}

func hostAccessFields() []field {
	get := func(name string, get func(*event.HostAccess) []string) field {
		return field{name: name, typ: textList, get: of(func(h *event.HostAccess) ref.Val {
			all := get(h)
			l := list{n: len(all), at: func(i int) ref.Val { return types.String(all[i]) }}
			if h.Partial {
				l.rest = unknownOf("target.host_access." + name)
			}
			return &l
		})}
	}
	return []field{
		{name: "privileged", typ: cel.BoolType, get: of(func(h *event.HostAccess) ref.Val {
			if h.Partial && !h.Privileged {
				return unknownOf("target.host_access.privileged")
			}
			return types.Bool(h.Privileged)
		})},
		get("namespaces", func(h *event.HostAccess) []string { return h.Namespaces }),
		get("capabilities", func(h *event.HostAccess) []string { return h.Capabilities }),
		get("devices", func(h *event.HostAccess) []string { return h.Devices }),
		get("paths", func(h *event.HostAccess) []string { return h.Paths }),
	}
}

func settingsFields() []field {
	one := func(name string, get func(*session.Settings) string) field {
		return field{name: name, typ: cel.StringType, get: of(func(s *session.Settings) ref.Val { return text(get(s)) })}
	}
	list := func(name string, get func(*session.Settings) []string) field {
		return field{name: name, typ: textList, get: of(func(s *session.Settings) ref.Val { return texts(get(s)) })}
	}
	return []field{
		one("dir", func(s *session.Settings) string { return s.Dir }),
		list("variables", func(s *session.Settings) []string { return s.Variables }),
		list("security", func(s *session.Settings) []string { return s.Security }),
		list("sysctls", func(s *session.Settings) []string { return s.Sysctls }),
		list("device_rules", func(s *session.Settings) []string { return s.DeviceRules }),
		one("cgroup_parent", func(s *session.Settings) string { return s.CgroupParent }),
		list("joined", func(s *session.Settings) []string { return s.Joined }),
	}
}

func processFields() []field {
	get := func(name string, typ *cel.Type, get func(*session.Process) ref.Val) field {
		return field{name: name, typ: typ, get: of(get)}
	}
	return []field{
		get("pid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.PID) }),
		get("ppid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.PPID) }),
		get("ns_pid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.NSPID) }),
		get("start", cel.TimestampType, func(p *session.Process) ref.Val { return types.Timestamp{Time: p.Start} }),
		get("argv", textList, func(p *session.Process) ref.Val {
			l := list{n: len(p.Argv), at: func(i int) ref.Val { return types.String(p.Argv[i]) }}
			if p.ArgvHash != "" || p.ArgvJoined {
				l.rest = unknownOf("processes.argv")
			}
			if p.ArgvJoined {
				l.n = 0
			}
			return &l
		}),
		get("exe", cel.StringType, func(p *session.Process) ref.Val { return orUnknown(p.Exe, "processes.exe") }),
		get("filename", cel.StringType, func(p *session.Process) ref.Val { return text(p.Filename) }),
		get("upper_layer", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.UpperLayer) }),
		get("memfd", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.Memfd) }),
		get("uid", cel.IntType, func(p *session.Process) ref.Val { return orNoNumber(p.UID, !p.NoUID, "processes.uid") }),
		get("gid", cel.IntType, func(p *session.Process) ref.Val { return orNoNumber(p.GID, !p.NoGID, "processes.gid") }),
		get("tty", cel.StringType, func(p *session.Process) ref.Val { return text(p.TTY) }),
		get("exit_code", cel.IntType, func(p *session.Process) ref.Val {
			if p.ExitCode == nil {
				return absent
			}
			return types.Int(*p.ExitCode)
		}),
		get("signal", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.Signal) }),
		get("forked", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.Forked) }),
		get("execs", cel.ListType(programType), func(p *session.Process) ref.Val {
			e := p.Execs
			return &list{n: len(e), at: func(i int) ref.Val {
				return &newProgram(program{argv: e[i].Argv, exe: e[i].Exe, joined: e[i].ArgvJoined, process: p}).self
			}}
		}),
	}
}

// orNoNumber is a number, or unknown where a log does not have it.
func orNoNumber(n uint32, known bool, path string) ref.Val {
	if !known {
		return unknownOf(path)
	}
	return types.Int(n)
}

func orUnknown(s, path string) ref.Val {
	if s == "" {
		return unknownOf(path)
	}
	return types.String(s)
}

// decisionFields are absent where no guard stood in the way.
func decisionFields() []field {
	said := func(name string, get func(*session.Decision) string) field {
		return before(name, cel.StringType, func(v *view) ref.Val {
			if v.s.Decision == nil {
				return absent
			}
			return text(get(v.s.Decision))
		})
	}
	return []field{
		said("effect", func(d *session.Decision) string { return string(d.Effect) }),
		said("rule", func(d *session.Decision) string { return d.Rule }),
		said("message", func(d *session.Decision) string { return d.Message }),
		said("approver", func(d *session.Decision) string { return d.Approver }),
		before("stopped", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.s.Decision != nil && v.s.Decision.Stopped) }),
	}
}

func unexplainedFields() []field {
	return []field{
		before("is", cel.BoolType, func(v *view) ref.Val { return types.Bool(v.s.Unexplained.Is) }),
		before("reason", cel.StringType, func(v *view) ref.Val { return text(v.s.Unexplained.Reason) }),
	}
}

func carriedFields() []field {
	get := func(name string, typ *cel.Type, get func(*session.Carried) ref.Val) field {
		return field{name: name, typ: typ, get: of(get)}
	}
	return []field{
		get("place", cel.StringType, func(c *session.Carried) ref.Val { return types.String(c.Place) }),
		get("container", cel.StringType, func(c *session.Carried) ref.Val { return text(c.Container) }),
		get("name", cel.StringType, func(c *session.Carried) ref.Val { return text(c.Name) }),
		get("argv", textList, func(c *session.Carried) ref.Val {
			l := &list{n: len(c.Argv), at: func(i int) ref.Val { return types.String(c.Argv[i]) }}
			if c.Place == session.PlaceVariable && l.n == 0 {
				l.rest = unknownOf("carried.argv")
			}
			return l
		}),
	}
}

func evidenceFields() []field {
	get := func(name string, get func(*session.Evidence) ref.Val) field {
		return field{name: name, typ: cel.StringType, get: of(get)}
	}
	return []field{
		get("witness", func(e *session.Evidence) ref.Val { return text(string(e.Witness)) }),
		get("what", func(e *session.Evidence) ref.Val { return text(e.What) }),
		get("detail", func(e *session.Evidence) ref.Val { return text(e.Detail) }),
	}
}
