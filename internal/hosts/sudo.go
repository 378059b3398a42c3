package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// Bounds of what is read of sudo's rules.
const (
	sudoFileMax  = 4 << 20 // bytes
	sudoFilesMax = 1000
	sudoNestMax  = 16 // includes, and aliases of aliases
	sudoItemsMax = 10_000
)

// errSudo says that a line is not understood.
var errSudo = errors.New("not understood")

// Sudo reads the rules of sudo that let somebody run container tools, shells or
// everything. root is the file system from /, name the first file ("etc/sudoers"),
// host this machine's name. What it does not understand it says, and it never takes
// a rule for a narrower one: users and commands that a rule excepts are taken to be
// let in, since what sudo excepts, another name of the same file gets back. The
// error says that the first file could not be read.
func Sudo(root fs.FS, name, host string, users []inventory.Account, groups []inventory.UnixGroup) ([]inventory.SudoRule, []inventory.Skipped, error) {
	s := sudoers{root: root, host: host, users: users, groups: groups, aliases: map[string][]string{}}
	if err := s.read(name, 0); err != nil {
		return nil, nil, err
	}
	var specs []sudoLine
	for _, l := range s.lines {
		if !s.define(l) {
			specs = append(specs, l)
		}
	}
	for _, l := range specs {
		if err := s.rule(l); err != nil {
			s.skip(l.file, l.n, err.Error())
		}
	}
	return s.rules, s.skipped, nil
}

// sudoLine is a line with its continuations.
type sudoLine struct {
	file string
	n    int
	text string
}

// sudoers is what was read so far.
type sudoers struct {
	root    fs.FS
	host    string
	users   []inventory.Account
	groups  []inventory.UnixGroup
	files   int
	lines   []sudoLine
	aliases map[string][]string // by kind and name, "Cmnd_Alias TOOLS"
	rules   []inventory.SudoRule
	skipped []inventory.Skipped
}

func (s *sudoers) skip(file string, n int, why string) {
	s.skipped = append(s.skipped, skip("/"+file, n, "sudo: "+why))
}

// read takes the lines of a file and of what it includes, in its order.
func (s *sudoers) read(name string, depth int) error {
	if s.files++; s.files > sudoFilesMax || depth > sudoNestMax {
		return fmt.Errorf("%w: more than %d files, or %d in one another", errSudo, sudoFilesMax, sudoNestMax)
	}
	b, err := rootfs.Read(s.root, name, sudoFileMax)
	if err != nil {
		return err
	}
	for _, l := range joined(name, string(b)) {
		if word, rest, dir := included(l.text); word {
			s.include(l, rest, dir, depth)
		} else if text := strings.TrimSpace(uncomment(l.text)); text != "" {
			l.text = text
			s.lines = append(s.lines, l)
		}
	}
	return nil
}

// joined splits text into lines, each with those that a backslash at its end
// continues it by.
func joined(file, text string) (out []sudoLine) {
	n, open := 0, false
	for line := range strings.SplitSeq(text, "\n") {
		n++
		if !open {
			out = append(out, sudoLine{file: file, n: n})
		}
		l := &out[len(out)-1]
		line, open = strings.CutSuffix(strings.TrimSuffix(line, "\r"), `\`)
		l.text += line
	}
	return out
}

// included reports whether a line includes a file, or a directory.
func included(line string) (ok bool, name string, dir bool) {
	line = strings.TrimSpace(line)
	for _, mark := range []string{"@", "#"} {
		for word, dir := range map[string]bool{"includedir": true, "include": false} {
			if rest, ok := strings.CutPrefix(line, mark+word); ok && strings.TrimLeft(rest, " \t") != rest {
				return true, strings.TrimSpace(rest), dir
			}
		}
	}
	return false, "", false
}

// include reads what a line includes; a name of no root is beside its file.
func (s *sudoers) include(l sudoLine, name string, dir bool, depth int) {
	name = strings.ReplaceAll(strings.Trim(name, `"`), `\ `, " ")
	short, _, _ := strings.Cut(s.host, ".")
	name = strings.ReplaceAll(name, "%h", short)
	if !path.IsAbs(name) {
		name = path.Join("/", path.Dir(l.file), name)
	}
	name = strings.TrimPrefix(path.Clean(name), "/")
	names := []string{name}
	if dir {
		entries, err := fs.ReadDir(s.root, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.skip(l.file, l.n, err.Error())
		}
		names = nil
		for _, e := range entries { // in order, as sudo takes them
			if !e.IsDir() && !strings.Contains(e.Name(), ".") && !strings.HasSuffix(e.Name(), "~") {
				names = append(names, path.Join(name, e.Name()))
			}
		}
	}
	for _, n := range names {
		if err := s.read(n, depth+1); err != nil {
			s.skip(l.file, l.n, err.Error())
		}
	}
}

// uncomment cuts a comment off. A number sign before a digit is a uid, or a gid
// when a percent sign stands before it.
func uncomment(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '#':
			id := i+1 < len(line) && (line[i+1] >= '0' && line[i+1] <= '9' || line[i+1] == '-')
			begins := i == 0 || strings.IndexByte(" \t,(!%:=", line[i-1]) >= 0
			if !quoted && (!id || !begins) {
				return line[:i]
			}
		}
	}
	return line
}
