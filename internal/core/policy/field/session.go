package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

func sessionFields() []Field { return append(askedFields(), ranFields()...) }

// askedFields are those of requests, too.
func askedFields() []Field {
	return []Field{
		before("id", cel.StringType, func(v *View) ref.Val { return value.Text(string(v.s.ID)) }),
		before("kind", cel.StringType, func(v *View) ref.Val { return types.String(v.s.Kind) }),
		before("channel", cel.StringType, func(v *View) ref.Val { return types.String(v.s.Channel) }),
		before("created", cel.TimestampType, (*View).created),
		before("started", cel.TimestampType, func(v *View) ref.Val { return types.Timestamp{Time: v.s.Started} }),
		before("attribution", attributionType, func(v *View) ref.Val { return &v.level }),
		before("actor", actorType, func(v *View) ref.Val { return &v.actor }),
		before("target", targetType, func(v *View) ref.Val { return &v.target }),
		before("argv", textList, func(v *View) ref.Val {
			argv, rest := v.argv()
			return &value.List{N: len(argv), At: boxed(argv), Rest: rest}
		}),
		before("argv_source", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.ArgvSource) }),
		before("command", cel.StringType, (*View).command),
		before("tty", cel.BoolType, (*View).tty),
		before("stdin", cel.BoolType, (*View).stdin),
		before("user", cel.StringType, func(v *View) ref.Val {
			if v.s.User == "" && v.dockerUntold() {
				return Unknown("user")
			}
			return value.Text(v.s.User)
		}),
		before("privileged", cel.BoolType, func(v *View) ref.Val {
			if !v.s.Privileged && v.dockerUntold() {
				return Unknown("privileged")
			}
			return types.Bool(v.s.Privileged)
		}),
		before("path", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Path) }),
		before("direction", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Direction) }),
		before("carried", cel.ListType(carriedType), (*View).carried),
		before("settings", settingsType, (*View).settings),
		before("audit_id", cel.StringType, func(v *View) ref.Val { return value.Text(string(v.s.AuditID)) }),
		before("verb", cel.StringType, (*View).verb),
		before("api", apiType, func(v *View) ref.Val { return &v.api }),
	}
}

// ranFields are what only running shows.
func ranFields() []Field {
	return []Field{
		after("state", cel.StringType, func(v *View) ref.Val { return types.String(v.s.State) }),
		after("ended", cel.TimestampType, func(v *View) ref.Val {
			if v.s.Ended == nil {
				return value.Absent
			}
			return types.Timestamp{Time: *v.s.Ended}
		}),
		after("exit_code", cel.IntType, func(v *View) ref.Val {
			switch {
			case v.s.ExitCode != nil:
				return types.Int(*v.s.ExitCode)
			case v.s.State == session.StateEnded && hasProcesses(v.s.Kind):
				return Unknown("exit_code")
			}
			return value.Absent
		}),
		after("exec_id", cel.StringType, func(v *View) ref.Val { return value.Text(string(v.s.ExecID)) }),
		after("processes", cel.ListType(processType), func(v *View) ref.Val {
			p := v.s.Processes
			return objects(processType, len(p), func(i int) any { return &p[i] }, v.moreProcesses())
		}),
		after("processes_total", cel.IntType, func(v *View) ref.Val {
			if v.s.LostRecords > 0 || v.s.ProcessesTotal == 0 && v.moreProcesses() != nil {
				return Unknown("processes_total")
			}
			return types.Int(v.s.ProcessesTotal)
		}),
		after("programs", cel.ListType(ProgramType), func(v *View) ref.Val {
			all := v.programList()
			return &value.List{N: len(all), At: func(i int) ref.Val { return &all[i].self }, Rest: v.moreProcesses()}
		}),
		after("unexplained", unexplainedType, func(v *View) ref.Val { return &v.unexpl }),
		after("decision", decisionType, func(v *View) ref.Val { return &v.decided }),
		after("lost_records", cel.IntType, func(v *View) ref.Val { return types.Int(v.s.LostRecords) }),
		after("gaps", textList, func(v *View) ref.Val { return value.Texts(v.s.Gaps) }),
		after("evidence", cel.ListType(evidenceType), func(v *View) ref.Val {
			e := v.s.Evidence
			return objects(evidenceType, len(e), func(i int) any { return &e[i] }, nil)
		}),
	}
}

// Late lists the fields that a session has and a request has not: what only running
// shows.
func Late() []string {
	var out []string
	for _, f := range ranFields() {
		out = append(out, f.Name)
	}
	return out
}

func attributionFields() []Field {
	return []Field{
		before("level", cel.StringType, func(v *View) ref.Val { return value.Text(string(v.s.Attribution.Level)) }),
		before("via", textList, func(v *View) ref.Val { return value.Texts(v.s.Attribution.Via) }),
		before("candidates", cel.ListType(actorType), func(v *View) ref.Val {
			c := v.s.Attribution.Candidates
			return objects(actorType, len(c), func(i int) any { return &actorView{&c[i], known(&c[i]), nil} }, nil)
		}),
	}
}

// decisionFields are absent where no guard stood in the way.
func decisionFields() []Field {
	said := func(name string, get func(*session.Decision) string) Field {
		return before(name, cel.StringType, func(v *View) ref.Val {
			if v.s.Decision == nil {
				return value.Absent
			}
			return value.Text(get(v.s.Decision))
		})
	}
	return []Field{
		said("effect", func(d *session.Decision) string { return string(d.Effect) }),
		said("rule", func(d *session.Decision) string { return d.Rule }),
		said("message", func(d *session.Decision) string { return d.Message }),
		said("approver", func(d *session.Decision) string { return d.Approver }),
		before("stopped", cel.BoolType, func(v *View) ref.Val { return types.Bool(v.s.Decision != nil && v.s.Decision.Stopped) }),
	}
}

func unexplainedFields() []Field {
	return []Field{
		before("is", cel.BoolType, func(v *View) ref.Val { return types.Bool(v.s.Unexplained.Is) }),
		before("reason", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Unexplained.Reason) }),
	}
}

func carriedFields() []Field {
	get := func(name string, typ *cel.Type, get func(*session.Carried) ref.Val) Field {
		return Field{Name: name, Type: typ, get: of(get)}
	}
	return []Field{
		get("place", cel.StringType, func(c *session.Carried) ref.Val { return types.String(c.Place) }),
		get("container", cel.StringType, func(c *session.Carried) ref.Val { return value.Text(c.Container) }),
		get("name", cel.StringType, func(c *session.Carried) ref.Val { return value.Text(c.Name) }),
		get("argv", textList, func(c *session.Carried) ref.Val {
			l := &value.List{N: len(c.Argv), At: func(i int) ref.Val { return types.String(c.Argv[i]) }}
			if c.Place == session.PlaceVariable && l.N == 0 {
				l.Rest = Unknown("carried.argv")
			}
			return l
		}),
	}
}

func evidenceFields() []Field {
	get := func(name string, get func(*session.Evidence) ref.Val) Field {
		return Field{Name: name, Type: cel.StringType, get: of(get)}
	}
	return []Field{
		get("witness", func(e *session.Evidence) ref.Val { return value.Text(string(e.Witness)) }),
		get("what", func(e *session.Evidence) ref.Val { return value.Text(e.What) }),
		get("detail", func(e *session.Evidence) ref.Val { return value.Text(e.Detail) }),
	}
}
