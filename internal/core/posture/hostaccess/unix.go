package hostaccess

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// all is sudo's word for everybody and everything.
const all = "ALL"

// The permissions that it takes: to connect, and to pass a directory.
const (
	mayWrite = 2
	mayPass  = 1
)

// file is what decides who may use a file.
type file struct {
	mode, uid, gid uint32
	acl            []string
}

// entry is one of an access control list: of kind user, group or mask.
type entry struct {
	kind, name string
	perm       uint32
}

func (f *file) entries() (out []entry) {
	for _, s := range f.acl {
		kind, rest, _ := strings.Cut(s, ":")
		name, perm, _ := strings.Cut(rest, ":")
		e := entry{kind: kind, name: name}
		for i, c := range "rwx" {
			if i < len(perm) && rune(perm[i]) == c {
				e.perm |= 4 >> i
			}
		}
		out = append(out, e)
	}
	return out
}

// allows says by what a user may do something with a file, as the kernel decides:
// "" when he may not. By others is "others".
func (a *Analysis) allows(name string, f *file, want uint32) string {
	uid, known := a.uids[name]
	if known && uid == 0 {
		return "root"
	}
	if known && uid == f.uid {
		return given("its owner "+name, f.mode>>6, want)
	}
	mask, own := uint32(7), f.mode>>3&7
	var users, groups []entry
	for _, e := range f.entries() {
		switch {
		case e.kind == "mask":
			mask = e.perm
		case e.kind == "group" && e.name == "":
			own = e.perm
		case e.kind == "user":
			users = append(users, e)
		case e.kind == "group":
			groups = append(groups, e)
		}
	}
	for _, e := range users { // of several users with one number the list names the first
		if e.name == name || known && a.is(e.name, uid) {
			return given("its access control list, user "+name, e.perm&mask, want)
		}
	}
	groups = append([]entry{{name: strconv.FormatUint(uint64(f.gid), 10), perm: own}}, groups...)
	member := false
	for _, e := range groups {
		gid, ok := a.gid(e.name)
		if !ok || !slices.Contains(a.groups[name], gid) {
			continue
		}
		member = true
		if by := given("group "+a.groupName(gid), e.perm&mask, want); by != "" {
			return by
		}
	}
	if member {
		return ""
	}
	return given("others", f.mode, want)
}

// is reports whether a name, or a number that stands for one, is that of a user's number.
func (a *Analysis) is(name string, uid uint32) bool {
	other, ok := a.uids[name]
	return ok && other == uid || !ok && name == strconv.FormatUint(uint64(uid), 10)
}

func given(by string, perm, want uint32) string {
	if perm&want != want {
		return ""
	}
	return by
}

// gid returns the number of a group of an access control list, which has numbers
// for those that nobody knows.
func (a *Analysis) gid(name string) (uint32, bool) {
	for i := range a.host.Groups {
		if a.host.Groups[i].Name == name {
			return a.host.Groups[i].GID, true
		}
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil
}

func (a *Analysis) groupName(gid uint32) string {
	for i := range a.host.Groups {
		if a.host.Groups[i].GID == gid {
			return a.host.Groups[i].Name
		}
	}
	return strconv.FormatUint(uint64(gid), 10)
}

// reach says by what a user reaches a socket, "" when he does not; of what everybody
// may it says nothing. unless says what could not be found out.
func (a *Analysis) reach(name string, s *inventory.Socket) (why, unless string) {
	by := a.allows(name, &file{s.Mode, s.UID, s.GID, s.ACL}, mayWrite)
	if by == "" {
		return "", ""
	}
	passes := by
	for i := range s.Above {
		d := &s.Above[i]
		if d.Inode == 0 {
			unless = d.Path + " lets nobody through, which could not be found out"
			continue
		}
		through := a.allows(name, &file{d.Mode, d.UID, d.GID, d.ACL}, mayPass)
		if through == "" {
			return "", ""
		}
		if through != "others" {
			passes = through
		}
	}
	if by == "others" && passes == "others" {
		return "", "" // anyone
	}
	if by == "others" {
		by = "everybody who gets there: " + passes
	}
	return fmt.Sprintf("socket %s (%04o), %s", s.Path, s.Mode&0o777, by), unless
}

// everybody says that each user of the host reaches a socket.
func (a *Analysis) everybody(s *inventory.Socket) (why, unless string) {
	switch {
	case s.Mode&mayWrite == 0 || s.Reachable == inventory.No:
		return "", ""
	case s.Reachable == inventory.Unknown:
		unless = "a directory above lets nobody through, which could not be found out"
	}
	return fmt.Sprintf("socket %s (%04o), everybody", s.Path, s.Mode&0o777), unless
}

// bySudo adds who gets to the engine as root, or as somebody who does, by as many
// rules as that takes.
func (a *Analysis) bySudo(w *list) {
	for before := -1; before < len(w.out); {
		before = len(w.out)
		ways := map[string][]exposure.Exposure{} // of unix users
		for _, e := range w.out {
			if name, ok := strings.CutPrefix(string(e.Actor), "unix:"); ok {
				ways[name] = append(ways[name], e)
			}
		}
		for i := range a.host.Sudo {
			r := &a.host.Sudo[i]
			for _, c := range r.Commands {
				if as := switches(c); as != "" {
					a.become(w, &grant{r, c, nil, true}, as, ways)
				} else if channels, everything := opens(c); everything || len(channels) > 0 {
					for _, as := range r.As {
						a.become(w, &grant{r, c, channels, everything}, as, ways)
					}
				}
			}
		}
	}
}

// grant is one command of a rule, and what it opens.
type grant struct {
	rule       *inventory.SudoRule
	command    string
	channels   []event.Channel
	everything bool
}

func (g *grant) opens(c event.Channel) bool { return g.everything || slices.Contains(g.channels, c) }

// as says the rule as a setting.
func (g *grant) as(name string) string {
	how := "sudo "
	if g.rule.NoPasswd {
		how = "sudo, without a password, "
	}
	return fmt.Sprintf("%s%s as %s (%s)", how, g.command, name, g.rule.Origin)
}

// become adds who a rule is for, when whom it runs a command as gets to the engine.
func (a *Analysis) become(w *list, g *grant, as string, ways map[string][]exposure.Exposure) {
	if as == all {
		as = rootName
	}
	uid, ok := a.uids[as]
	root, next := ok && uid == 0, ways[as]
	if group, ok := strings.CutPrefix(as, "%"); ok {
		next = a.byGroup(w.target, group)
	}
	why := g.as(as)
	for _, who := range a.ruled(g.rule) {
		switch {
		case who == unix(as):
		case root && g.everything:
			w.add(who, event.ChannelDockerExec, false,
				step(exposure.EdgeSocket, who, "root on "+a.host.Name, why, ""), step(exposure.EdgeNode, unix(rootName), toEngine, "root on the host", ""))
		case root:
			for _, c := range g.channels {
				w.add(who, c, false, step(exposure.EdgeSocket, who, toEngine, why, ""))
			}
		default:
			for _, e := range next {
				if g.opens(e.Channel) {
					w.add(who, e.Channel, false, append([]exposure.Step{step(exposure.EdgeSocket, who, as, why, "")}, e.Via...)...)
				}
			}
		}
	}
}

// byGroup lists what a group's members reach.
func (a *Analysis) byGroup(target exposure.Target, group string) []exposure.Exposure {
	gid, ok := a.gid(strings.TrimPrefix(group, "#"))
	if !ok {
		return nil
	}
	one := &Analysis{host: a.host, people: []string{group}, groups: map[string][]uint32{group: {gid}}, uids: map[string]uint32{}, node: a.node}
	w := &list{target: target, seen: map[key]bool{}}
	for _, d := range one.doors() {
		one.bySocket(w, d)
	}
	return w.out
}

// ruled lists who a rule of sudo is for.
func (a *Analysis) ruled(r *inventory.SudoRule) (out []exposure.Actor) {
	add := func(who exposure.Actor) {
		if !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	for _, u := range r.Users {
		if u == all {
			return []exposure.Actor{exposure.Anyone}
		}
		if uid, ok := a.uids[u]; !ok || uid != 0 { // root is root
			add(unix(u))
		}
	}
	for _, g := range r.Groups {
		for i := range a.host.Groups {
			if a.host.Groups[i].Name != g {
				continue
			}
			for _, m := range a.host.Groups[i].Members {
				if uid, ok := a.uids[m]; !ok || uid != 0 {
					add(unix(m))
				}
			}
		}
	}
	return out
}
