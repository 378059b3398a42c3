package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

func processFields() []Field {
	get := func(name string, typ *cel.Type, get func(*session.Process) ref.Val) Field {
		return Field{Name: name, Type: typ, get: of(get)}
	}
	return []Field{
		get("pid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.PID) }),
		get("ppid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.PPID) }),
		get("ns_pid", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.NSPID) }),
		get("start", cel.TimestampType, func(p *session.Process) ref.Val { return types.Timestamp{Time: p.Start} }),
		get("argv", textList, func(p *session.Process) ref.Val {
			l := value.List{N: len(p.Argv), At: func(i int) ref.Val { return types.String(p.Argv[i]) }}
			if p.ArgvHash != "" || p.ArgvJoined {
				l.Rest = Unknown("processes.argv")
			}
			if p.ArgvJoined {
				l.N = 0
			}
			return &l
		}),
		get("exe", cel.StringType, func(p *session.Process) ref.Val { return orUnknown(p.Exe, "processes.exe") }),
		get("filename", cel.StringType, func(p *session.Process) ref.Val { return value.Text(p.Filename) }),
		get("upper_layer", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.UpperLayer) }),
		get("memfd", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.Memfd) }),
		get("uid", cel.IntType, func(p *session.Process) ref.Val { return orNoNumber(p.UID, !p.NoUID, "processes.uid") }),
		get("gid", cel.IntType, func(p *session.Process) ref.Val { return orNoNumber(p.GID, !p.NoGID, "processes.gid") }),
		get("tty", cel.StringType, func(p *session.Process) ref.Val { return value.Text(p.TTY) }),
		get("exit_code", cel.IntType, func(p *session.Process) ref.Val {
			if p.ExitCode == nil {
				return value.Absent
			}
			return types.Int(*p.ExitCode)
		}),
		get("signal", cel.IntType, func(p *session.Process) ref.Val { return types.Int(p.Signal) }),
		get("forked", cel.BoolType, func(p *session.Process) ref.Val { return types.Bool(p.Forked) }),
		get("execs", cel.ListType(ProgramType), func(p *session.Process) ref.Val {
			e := p.Execs
			return &value.List{N: len(e), At: func(i int) ref.Val {
				return &newProgram(Program{argv: e[i].Argv, exe: e[i].Exe, joined: e[i].ArgvJoined, process: p}).self
			}}
		}),
	}
}
