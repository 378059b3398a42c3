package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// systemDirs are where systemd looks for units, the first that has one first.
var systemDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// userDirs are where the systemd of a user looks for units, by his home, his
// configuration's and his runtime directory (man systemd.unit).
func userDirs(home, config, runtime string) []string {
	out := []string{path.Join(config, "systemd/user"), "etc/systemd/user", path.Join(runtime, "systemd/user"), "run/systemd/user", path.Join(home, ".local/share/systemd/user")}
	for i, dir := range out {
		out[i] = rootfs.Inside(dir)
	}
	return append(out, "usr/local/share/systemd/user", "usr/share/systemd/user", "usr/local/lib/systemd/user", "usr/lib/systemd/user")
}

// unitOf returns the unit that a process belongs to, of /proc/PID/cgroup, "" when it
// is none of a service; users says that a user's own systemd has started it.
func unitOf(cgroup string) (name string, users bool) {
	for line := range strings.Lines(cgroup) {
		dir, base := path.Split(strings.TrimSpace(line))
		if strings.HasSuffix(base, ".service") {
			name, users = base, strings.Contains(dir, "/user@")
		}
	}
	return name, users
}

// dropInsMax bounds the drop-ins of a unit.
const dropInsMax = 256

// Unit is what systemd would start, of a unit and its drop-ins.
type Unit struct {
	// Exec are the arguments of ExecStart, the program first; empty when there is no
	// such unit.
	Exec   []string
	Origin inventory.Origin
	// Listen are the ListenStream addresses of a socket unit.
	Listen []inventory.Setting
	// Unset names the variables of ExecStart that nothing here sets.
	Unset []string
}

// ReadUnit reads a unit and its drop-ins. root is the file system from /, dirs are
// where units are, the first that has one first. A unit that is not there is an empty
// one.
func ReadUnit(root fs.FS, dirs []string, name string) (*Unit, error) {
	u, env := &Unit{}, map[string]string{}
	var exec string
	names, err := unitFiles(root, dirs, name)
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		if info, err := fs.Stat(root, file); err == nil && info.Mode()&fs.ModeDevice != 0 {
			continue // a link to /dev/null: it is masked
		}
		b, err := rootfs.Read(root, file, fileMax)
		if err != nil {
			return nil, err
		}
		for _, a := range assignments(string(b)) {
			o := inventory.Origin{Source: "/" + file, Line: a.line}
			switch a.key {
			case "Service.ExecStart":
				exec, u.Origin = a.value, o // an empty one takes back those before
			case "Service.Environment":
				for _, v := range words(a.value) {
					if k, v, ok := strings.Cut(v, "="); ok {
						env[k] = v
					}
				}
			case "Service.EnvironmentFile":
				if err := environment(root, a.value, env); err != nil {
					return nil, fmt.Errorf("%s:%d: %w", o.Source, o.Line, err)
				}
			case "Socket.ListenStream":
				if a.value == "" {
					u.Listen = nil
				} else {
					u.Listen = append(u.Listen, inventory.Setting{Name: "hosts", Value: streamAddress(a.value), Origin: o})
				}
			}
		}
	}
	u.Exec, u.Unset = expand(words(strings.TrimLeft(exec, "-@:+!")), env)
	return u, nil
}

// unitFiles lists a unit and its drop-ins, in the order in which they count: of
// drop-ins of one name only that of the first directory does.
func unitFiles(root fs.FS, dirs []string, name string) ([]string, error) {
	var unit string
	dropIns := map[string]string{}
	for _, dir := range dirs {
		if file := path.Join(dir, name); unit == "" {
			if _, err := fs.Stat(root, file); err == nil {
				unit = file
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		entries, err := fs.ReadDir(root, path.Join(dir, name+".d"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if _, ok := dropIns[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".conf") && len(dropIns) < dropInsMax {
				dropIns[e.Name()] = path.Join(dir, name+".d", e.Name())
			}
		}
	}
	if unit == "" {
		return nil, nil
	}
	out := []string{unit}
	var order []string
	for n := range dropIns {
		order = append(order, n)
	}
	slices.Sort(order)
	for _, n := range order {
		out = append(out, dropIns[n])
	}
	return out, nil
}

// assignment is a line KEY=VALUE of a section: "Service.ExecStart".
type assignment struct {
	key, value string
	line       int
}

// assignments parses a unit.
func assignments(unit string) (out []assignment) {
	section, n, open := "", 0, false
	for line := range strings.SplitSeq(unit, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line != "" && (line[0] == '#' || line[0] == ';') {
			continue // also between a line and its continuation
		}
		more := strings.HasSuffix(line, `\`)
		line = strings.TrimSuffix(line, `\`)
		switch key, value, ok := strings.Cut(line, "="); {
		case open:
			if len(out) > 0 {
				out[len(out)-1].value += " " + line
			}
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		case ok:
			out = append(out, assignment{section + "." + strings.TrimSpace(key), strings.TrimSpace(value), n})
		default:
			more = false
		}
		open = more
	}
	return out
}

// environment reads a file of variables; one with a dash before its name need not be
// there.
func environment(root fs.FS, name string, to map[string]string) error {
	name, optional := strings.CutPrefix(name, "-")
	b, err := rootfs.Read(root, name, fileMax)
	if err != nil {
		if optional && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimSpace(line)
		k, v, ok := strings.Cut(line, "=")
		if ok && line[0] != '#' && line[0] != ';' {
			to[strings.TrimSpace(k)] = unquote(strings.TrimSpace(v))
		}
	}
	return nil
}

func unquote(v string) string {
	if len(v) > 1 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		return v[1 : len(v)-1]
	}
	return v
}

// words splits a command line as systemd does.
func words(s string) (out []string) {
	var word strings.Builder
	var quote byte
	in := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			in = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if in {
		out = append(out, word.String())
	}
	return out
}

// expand puts variables in: $NAME as a word of its own becomes several words,
// ${NAME} stays in its word.
func expand(args []string, env map[string]string) (out, unset []string) {
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "$"); ok && name != "" && !strings.HasPrefix(name, "{") && !strings.HasPrefix(name, "$") {
			v, ok := env[name]
			if !ok {
				unset = append(unset, name)
			}
			out = append(out, words(v)...)
			continue
		}
		for {
			before, rest, ok := strings.Cut(a, "${")
			name, after, closed := strings.Cut(rest, "}")
			if !ok || !closed {
				break
			}
			v, ok := env[name]
			if !ok {
				unset = append(unset, name)
			}
			a = before + v + strings.ReplaceAll(after, "${"+name+"}", v)
			if strings.Contains(v, "${") {
				break // a value is no place for another
			}
		}
		out = append(out, a)
	}
	return out, unset
}

// streamAddress writes the address of a socket unit as dockerd would.
func streamAddress(v string) string {
	switch {
	case strings.HasPrefix(v, "/"):
		return "unix://" + v
	case strings.Trim(v, "0123456789") == "":
		return "tcp://[::]:" + v
	}
	return "tcp://" + v
}
