package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/pattern"
	"github.com/sallyport/sallyport/internal/core/session"
)

// program is one program that ran in a session, whether or not its process went
// on to run another.
type program struct {
	argv    []string
	exe     string
	joined  bool // argv is one string, its quoting lost
	cut     bool // argv is only its beginning
	last    bool // of its process; not replaced
	process *session.Process
	of      *view // among whose programs it is; nil for one of processes.execs: its parent is not looked up

	self object
	// What many rules ask for, once one did: the arguments joined with blanks, the
	// same and exe in lower case, and fields, by their slots.
	line, lower string
	exeLower    string
	read        [programSlots]ref.Val
}

// programSlots is how many fields of programs there are, at most.
const programSlots = 12

func newProgram(p program) *program {
	p.self = object{programType, &p}
	return &p
}

// programList returns every program that the processes of the session ran, each
// made once for all rules.
func (v *view) programList() []*program {
	if v.ran != nil {
		return v.ran
	}
	for i := range v.s.Processes {
		p := &v.s.Processes[i]
		for _, e := range p.Execs {
			v.ran = append(v.ran, newProgram(program{argv: e.Argv, exe: e.Exe, joined: e.ArgvJoined, process: p, of: v}))
		}
		if !p.Forked {
			v.ran = append(v.ran, newProgram(program{
				argv: p.Argv, exe: p.Exe, joined: p.ArgvJoined, cut: p.ArgvHash != "", last: true, process: p, of: v,
			}))
		}
	}
	return v.ran
}

func programFields() []field {
	get := func(name string, typ *cel.Type, get func(*program) ref.Val) field {
		return field{name: name, typ: typ, get: of(get)}
	}
	flag := func(name string, of func(*session.Process) bool) field {
		return get(name, cel.BoolType, func(p *program) ref.Val {
			if !p.last {
				return unknownOf("programs." + name)
			}
			return types.Bool(of(p.process))
		})
	}
	number := func(name string, of func(*session.Process) uint32) field {
		return get(name, cel.IntType, func(p *program) ref.Val { return orNoNumber(of(p.process), of(p.process) != 0, "programs."+name) })
	}
	return []field{
		get("argv", textList, func(p *program) ref.Val {
			l := list{n: len(p.argv), at: boxed(p.argv)}
			if p.cut || p.joined {
				l.rest = unknownOf("programs.argv")
			}
			if p.joined {
				l.n = 0
			}
			return &l
		}),
		get("command", cel.StringType, func(p *program) ref.Val {
			if p.cut {
				return unknownOf("programs.command")
			}
			return orUnknown(p.commandLine(), "programs.command")
		}),
		get("exe", cel.StringType, func(p *program) ref.Val { return orUnknown(p.exe, "programs.exe") }),
		get("name", cel.StringType, func(p *program) ref.Val { return orUnknown(p.calledName(), "programs.name") }),
		get("parent", programType, (*program).parent),
		get("user", cel.StringType, (*program).userName),
		number("pid", func(p *session.Process) uint32 { return p.PID }),
		number("ppid", func(p *session.Process) uint32 { return p.PPID }),
		flag("upper_layer", func(p *session.Process) bool { return p.UpperLayer }),
		flag("memfd", func(p *session.Process) bool { return p.Memfd }),
	}
}

// commandLine returns the arguments joined with blanks, as far as they are known.
func (p *program) commandLine() string {
	if p.line == "" {
		p.line = strings.Join(p.argv, " ")
	}
	return p.line
}

// commandLike says whether the command line fits a pattern. Of one that is not
// known to its end, the beginning may tell.
func (p *program) commandLike(of *pattern.Set) ref.Val {
	if p.lower == "" {
		p.lower = strings.ToLower(p.commandLine())
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
	return unknownOf("programs.command")
}

// exeLike says whether the executable's path fits a pattern.
func (p *program) exeLike(of *pattern.Set) ref.Val {
	if p.exe == "" {
		return unknownOf("programs.exe")
	}
	if p.exeLower == "" {
		p.exeLower = strings.ToLower(p.exe)
	}
	return types.Bool(of.MatchLower(p.exeLower))
}

// userName is the name that a log has; of what the kernel told there are only
// numbers, of which 0 has one name everywhere.
func (p *program) userName() ref.Val {
	switch x := p.process; {
	case x.UserName != "":
		return types.String(x.UserName)
	case x.UID == 0 && !x.NoUID:
		return types.String("root")
	}
	return unknownOf("programs.user")
}

// parent is the program of the process that started this one's, where both are of
// the session: nothing for the first process, which came in from outside. It is
// unknown where that process ran several programs.
func (p *program) parent() ref.Val {
	if p.of == nil {
		return unknownOf("programs.parent")
	}
	all := p.of.s.Processes
	x := p.process
	for range all { // a subshell runs its parent's program
		if x == &all[0] && !logged(p.of.s) {
			return absent
		}
		up := parentOf(all, x)
		switch {
		case up == nil, len(up.Execs) > 0:
			return unknownOf("programs.parent")
		case !up.Forked:
			ran := p.of.programList()
			return &ran[slices.IndexFunc(ran, func(q *program) bool { return q.last && q.process == up })].self
		}
		x = up
	}
	return unknownOf("programs.parent")
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
