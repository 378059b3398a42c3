package condition

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/sample"
)

// programAsks are questions to a program.
var programAsks = []string{
	`p.exe.ilike("*/SH")`, `p.exe.ilike(["*/id", "/bin/n*"])`, `p.commandLike("* -C *")`, `p.commandLike(["sh*", "*evil*"])`,
	`p.parent.exe.ilike("*/sh")`, `p.parent.commandLike("*-c*")`, `p.parent.parent.exe.ilike("*")`, `p.user.ilike("root")`,
	`p.command.matches("-[a-z] ")`, `p.parent.command.matches("x")`, `p.pid == 2`, `p.ppid >= 2`, `p.pid < 3`, `p.ppid > 1`, `p.pid <= 1`,
	`p.parent.pid == 1`, `p.parent.memfd`, `p.parent.argv.exists(a, a == "-c")`, `p.parent.argv.size() > 1`, `has(p.parent.argv)`, `true`, `false`,
}

// anyBody draws a condition over p.
func anyBody(t *rapid.T, depth int) string {
	if depth == 0 || rapid.Bool().Draw(t, "leaf") {
		return rapid.SampledFrom(programAsks).Draw(t, "ask")
	}
	switch rapid.IntRange(0, 2).Draw(t, "op") {
	case 0:
		return "!(" + anyBody(t, depth-1) + ")"
	case 1:
		return "(" + anyBody(t, depth-1) + " && " + anyBody(t, depth-1) + ")"
	}
	return "(" + anyBody(t, depth-1) + " || " + anyBody(t, depth-1) + ")"
}

func anyTree(t *rapid.T) session.Session {
	s := exec("ann")
	for i := range rapid.IntRange(0, 4).Draw(t, "processes") {
		exe := rapid.SampledFrom([]string{"/bin/sh", "/usr/bin/ID", ""}).Draw(t, "exe")
		line := rapid.SampledFrom([]string{"sh -c id", "id", "", "evil -x y"}).Draw(t, "line")
		p := sample.Ran(uint32(i+1), uint32(rapid.IntRange(0, 4).Draw(t, "ppid")), exe, line, nil)
		p.UID = uint32(rapid.IntRange(0, 1).Draw(t, "uid"))
		switch rapid.IntRange(0, 6).Draw(t, "odd") {
		case 0:
			p.ArgvHash = "ff"
		case 1:
			p.Forked = true
		case 2:
			p.ArgvJoined = true
		case 3:
			p.Execs = []session.Program{{Argv: []string{"sh", "-c", "x"}, Exe: "/bin/sh"}}
		case 4:
			p.ID = event.LoggedProcess(p.PID, sample.At)
		}
		sample.Tree(p)(&s)
	}
	s.LostRecords = uint64(rapid.IntRange(0, 1).Draw(t, "lost"))
	return s
}

// A plan says of programs what the library says.
func TestPlanOfPrograms(t *testing.T) {
	l := language(t, nil, nil)
	rapid.Check(t, func(t *rapid.T) {
		all := bothWays(t, l, []string{"session.id != 'never' && session.programs.exists(p, " + anyBody(t, 3) + ")"})
		if all[0].planned.parts == nil || all[0].planned.program != nil {
			t.Fatalf("%s is not planned", all[0].text)
		}
		for range 10 {
			s := anyTree(t)
			all[0].compare(t, &s)
		}
	})
}
