package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// tree prints the processes as a tree by parent. A process whose parent is not
// listed stands at the left.
func (r Renderer) tree(w *terminal.Writer, s *session.Session) {
	if len(s.Processes) == 0 {
		return
	}
	title := fmt.Sprintf("Processes (%d)", s.ProcessesTotal)
	if s.ProcessesTotal > len(s.Processes) {
		title = fmt.Sprintf("Processes (the first %d of %d)", len(s.Processes), s.ProcessesTotal)
	}
	r.title(w, title)
	children := children(s.Processes)
	var print func(parent int, indent string)
	print = func(parent int, indent string) {
		list := children[parent]
		for i, n := range list {
			branch, next := "├─ ", "│  "
			if i == len(list)-1 {
				branch, next = "└─ ", "   "
			}
			if parent < 0 {
				branch, next = "", ""
			}
			r.process(w, &s.Processes[n], indent+branch, indent+next)
			print(n, indent+next)
		}
	}
	print(-1, "  ")
}

// children returns, by index of the parent (-1: none), the indexes of its
// children. A pid can be used twice in a session: the parent is the last one
// of that pid that started before the child.
func children(processes []session.Process) map[int][]int {
	latest := map[uint32]int{}
	out := map[int][]int{}
	for i, p := range processes {
		parent, ok := latest[p.PPID]
		if !ok || p.PPID == 0 {
			parent = -1
		}
		out[parent] = append(out[parent], i)
		latest[p.PID] = i
	}
	return out
}

func (r Renderer) process(w *terminal.Writer, p *session.Process, first, rest string) {
	for _, e := range p.Execs {
		w.Line("%s%s  %s  %s", first, pidText(p.PID), processArgv(e.Argv, e.ArgvJoined), r.Palette.Paint(terminal.Dim, "then became"))
		first = rest
	}
	w.Line("%s%s  %s  %s", first, pidText(p.PID), processCommand(p), r.Palette.Paint(terminal.Dim, processDetail(p)))
}

// pidText is a pid, or that a log has none.
func pidText(pid uint32) string {
	if pid == 0 {
		return "?"
	}
	return strconv.FormatUint(uint64(pid), 10)
}

// processArgv is a command as a list, or as the one string that a log has.
func processArgv(argv []string, joined bool) string {
	if joined {
		return printable.Cut(printable.Text(strings.Join(argv, " ")), commandMax)
	}
	return Argv(argv)
}

func processCommand(p *session.Process) string {
	text := processArgv(p.Argv, p.ArgvJoined)
	if p.Forked {
		text += " (forked only: no exec seen)"
	}
	if p.ArgvHash != "" {
		text += fmt.Sprintf("… (%d bytes in all, FNV-1a %s)", p.ArgvBytes, p.ArgvHash)
	}
	return strings.TrimSpace(text)
}

func processDetail(p *session.Process) string {
	parts := []string{}
	if p.Exe != "" {
		parts = append(parts, printable.Text(p.Exe))
	}
	if p.UpperLayer {
		parts = append(parts, "written after the container started")
	}
	if p.Memfd {
		parts = append(parts, "from memory, no file")
	}
	switch {
	case !p.NoUID:
		parts = append(parts, "uid "+strconv.FormatUint(uint64(p.UID), 10))
	case p.UserName != "":
		parts = append(parts, "user "+printable.Text(p.UserName))
	}
	if p.TTY != "" {
		parts = append(parts, printable.Text(p.TTY))
	}
	switch {
	case p.Signal != 0:
		parts = append(parts, "killed by signal "+strconv.Itoa(p.Signal))
	case p.ExitCode != nil:
		parts = append(parts, "exit "+strconv.Itoa(*p.ExitCode))
	case p.End == nil && !p.ID.Logged(): // no log tells of all ends
		parts = append(parts, "running")
	}
	return strings.Join(parts, ", ")
}

// timelineMax bounds the lines of a timeline.
const timelineMax = 64

// timeline prints the beginnings and ends in order.
func (r Renderer) timeline(w *terminal.Writer, s *session.Session) {
	type moment struct {
		at   time.Time
		text string
	}
	moments := []moment{{s.Started, "session starts"}}
	for i := range s.Processes {
		p := &s.Processes[i]
		for _, e := range p.Execs {
			moments = append(moments, moment{e.Time, fmt.Sprintf("%s runs %s", pidText(p.PID), processArgv(e.Argv, e.ArgvJoined))})
		}
		born := fmt.Sprintf("%s runs %s", pidText(p.PID), processArgv(p.Argv, p.ArgvJoined))
		if p.Forked {
			born = fmt.Sprintf("%s is forked", pidText(p.PID))
		}
		moments = append(moments, moment{p.Start, born})
		if p.End != nil {
			moments = append(moments, moment{*p.End, fmt.Sprintf("%s ends", pidText(p.PID))})
		}
	}
	if s.Ended != nil {
		moments = append(moments, moment{*s.Ended, "session ends"})
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	r.title(w, "Timeline")
	for i, m := range moments {
		if i == timelineMax {
			w.Line("  … %d more: --json has them all", len(moments)-i)
			return
		}
		w.Line("  %s  %+12s  %s", m.at.In(r.Zone).Format("15:04:05.000000"), "+"+wording.Duration(m.at.Sub(s.Started)), printable.Cut(m.text, r.room()))
	}
}
