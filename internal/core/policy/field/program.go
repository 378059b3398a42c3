package field

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Program is one program that ran in a session, whether or not its process went
// on to run another.
type Program struct {
	argv    []string
	exe     string
	joined  bool // argv is one string, its quoting lost
	cut     bool // argv is only its beginning
	last    bool // of its process; not replaced
	process *session.Process
	of      *View // among whose programs it is; nil for one of processes.execs: its parent is not looked up

	self value.Object
	// What many rules ask for, once one did: the arguments joined with blanks, the
	// same and exe in lower case, and fields, by their slots.
	line, lower string
	exeLower    string
	read        [programSlots]ref.Val
}

// programSlots is how many fields of programs there are, at most.
const programSlots = 12

func newProgram(p Program) *Program {
	p.self = value.Object{Kind: ProgramType, It: &p}
	return &p
}

// Exe returns the path of the executable, "" when it is not known.
func (p *Program) Exe() string { return p.exe }

// programList returns every program that the processes of the session ran, each
// made once for all rules.
func (v *View) programList() []*Program {
	if v.ran != nil {
		return v.ran
	}
	for i := range v.s.Processes {
		p := &v.s.Processes[i]
		for _, e := range p.Execs {
			v.ran = append(v.ran, newProgram(Program{argv: e.Argv, exe: e.Exe, joined: e.ArgvJoined, process: p, of: v}))
		}
		if !p.Forked {
			v.ran = append(v.ran, newProgram(Program{
				argv: p.Argv, exe: p.Exe, joined: p.ArgvJoined, cut: p.ArgvHash != "", last: true, process: p, of: v,
			}))
		}
	}
	return v.ran
}

func programFields() []Field {
	get := func(name string, typ *cel.Type, get func(*Program) ref.Val) Field {
		return Field{Name: name, Type: typ, get: of(get)}
	}
	flag := func(name string, of func(*session.Process) bool) Field {
		return get(name, cel.BoolType, func(p *Program) ref.Val {
			if !p.last {
				return Unknown("programs." + name)
			}
			return types.Bool(of(p.process))
		})
	}
	number := func(name string, of func(*session.Process) uint32) Field {
		return get(name, cel.IntType, func(p *Program) ref.Val { return orNoNumber(of(p.process), of(p.process) != 0, "programs."+name) })
	}
	return []Field{
		get("argv", textList, func(p *Program) ref.Val {
			l := value.List{N: len(p.argv), At: boxed(p.argv)}
			if p.cut || p.joined {
				l.Rest = Unknown("programs.argv")
			}
			if p.joined {
				l.N = 0
			}
			return &l
		}),
		get("command", cel.StringType, func(p *Program) ref.Val {
			if p.cut {
				return Unknown("programs.command")
			}
			return orUnknown(p.CommandLine(), "programs.command")
		}),
		get("exe", cel.StringType, func(p *Program) ref.Val { return orUnknown(p.exe, "programs.exe") }),
		get("name", cel.StringType, func(p *Program) ref.Val { return orUnknown(p.calledName(), "programs.name") }),
		get("parent", ProgramType, (*Program).parent),
		get("user", cel.StringType, (*Program).userName),
		number("pid", func(p *session.Process) uint32 { return p.PID }),
		number("ppid", func(p *session.Process) uint32 { return p.PPID }),
		flag("upper_layer", func(p *session.Process) bool { return p.UpperLayer }),
		flag("memfd", func(p *session.Process) bool { return p.Memfd }),
	}
}

// CommandLine returns the arguments joined with blanks, as far as they are known.
func (p *Program) CommandLine() string {
	if p.line == "" {
		p.line = strings.Join(p.argv, " ")
	}
	return p.line
}

// CommandLike says whether the command line fits a pattern. Of one that is not
// known to its end, the beginning may tell.
func (p *Program) CommandLike(of *pattern.Set) ref.Val {
	if p.lower == "" {
		p.lower = strings.ToLower(p.CommandLine())
	}
	switch {
	case p.lower == "":
	case !p.cut:
		return types.Bool(of.MatchLower(p.lower))
	default:
		switch of.BeginsLower(p.lower) {
		case pattern.Yes:
			return types.True
		case pattern.No:
			return types.False
		case pattern.Maybe:
		}
	}
	return Unknown("programs.command")
}

// ExeLike says whether the executable's path fits a pattern.
func (p *Program) ExeLike(of *pattern.Set) ref.Val {
	if p.exe == "" {
		return Unknown("programs.exe")
	}
	if p.exeLower == "" {
		p.exeLower = strings.ToLower(p.exe)
	}
	return types.Bool(of.MatchLower(p.exeLower))
}

// userName is the name that a log has; of what the kernel told there are only
// numbers, of which 0 has one name everywhere.
func (p *Program) userName() ref.Val {
	switch x := p.process; {
	case x.UserName != "":
		return types.String(x.UserName)
	case x.UID == 0 && !x.NoUID:
		return types.String("root")
	}
	return Unknown("programs.user")
}

// parent is the program of the process that started this one's, where both are of
// the session: nothing for the first process, which came in from outside. It is
// unknown where that process ran several programs.
func (p *Program) parent() ref.Val {
	if p.of == nil {
		return Unknown("programs.parent")
	}
	all := p.of.s.Processes
	x := p.process
	for range all { // a subshell runs its parent's program
		if x == &all[0] && !logged(p.of.s) {
			return value.Absent
		}
		up := parentOf(all, x)
		switch {
		case up == nil, len(up.Execs) > 0:
			return Unknown("programs.parent")
		case !up.Forked:
			ran := p.of.programList()
			return &ran[slices.IndexFunc(ran, func(q *Program) bool { return q.last && q.process == up })].self
		}
		x = up
	}
	return Unknown("programs.parent")
}

// parentOf returns the process that started x; nil when it is not among all.
func parentOf(all []session.Process, x *session.Process) *session.Process {
	var found *session.Process
	for i := range all {
		q := &all[i]
		if q != x && q.PID == x.PPID && q.PID != 0 && !q.Start.After(x.Start) && (found == nil || found.Start.Before(q.Start)) {
			found = q
		}
	}
	return found
}
