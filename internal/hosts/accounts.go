package hosts

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// lineMax bounds a line of /etc/passwd, /etc/group and sudoers, in bytes.
const lineMax = 1 << 20

// Passwd parses /etc/passwd. name is the file's, for what is said of lines that
// are no accounts. The error is that of reading.
func Passwd(name string, r io.Reader) (users []inventory.Account, skipped []inventory.Skipped, err error) {
	err = lines(name, r, func(n int, line string) {
		f := strings.Split(line, ":")
		var u inventory.Account
		ok := len(f) == 7 && f[0] != ""
		if ok {
			u.Name, u.Login = f[0], login(f[6])
			ok = number(f[2], &u.UID) && number(f[3], &u.GID)
		}
		if !ok {
			skipped = append(skipped, skip(name, n, "no account: name, password, uid, gid, comment, home and shell, between colons, are expected"))
			return
		}
		users = append(users, u)
	})
	return users, skipped, err
}

// login tells from a shell whether somebody can log in. An empty one is /bin/sh.
func login(shell string) inventory.Answer {
	for _, none := range []string{"/nologin", "/false", "/sync", "/shutdown", "/halt"} {
		if strings.HasSuffix(shell, none) {
			return inventory.No
		}
	}
	return inventory.Yes
}

// Groups parses /etc/group, with the users whose primary group each is.
func Groups(name string, r io.Reader, users []inventory.Account) (groups []inventory.UnixGroup, skipped []inventory.Skipped, err error) {
	err = lines(name, r, func(n int, line string) {
		f := strings.Split(line, ":")
		g := inventory.UnixGroup{Origin: inventory.Origin{Source: name, Line: n}}
		if len(f) != 4 || f[0] == "" || !number(f[2], &g.GID) {
			skipped = append(skipped, skip(name, n, "no group: name, password, gid and members, between colons, are expected"))
			return
		}
		g.Name = f[0]
		for _, m := range strings.Split(f[3], ",") {
			if m != "" && !slices.Contains(g.Members, m) {
				g.Members = append(g.Members, m)
			}
		}
		groups = append(groups, g)
	})
	for i := range groups {
		g := &groups[i]
		for k := range users {
			if users[k].GID != g.GID {
				continue
			}
			g.Primary = append(g.Primary, users[k].Name)
			if !slices.Contains(g.Members, users[k].Name) {
				g.Members = append(g.Members, users[k].Name)
			}
		}
	}
	return groups, skipped, err
}

// others lists the sources of a database of nsswitch.conf that are no files of
// this machine.
func others(conf []byte, database string) (out []string) {
	for line := range bytes.Lines(conf) {
		text, _, _ := strings.Cut(string(line), "#")
		name, sources, ok := strings.Cut(text, ":")
		if !ok || strings.TrimSpace(name) != database {
			continue
		}
		for _, s := range strings.Fields(sources) {
			switch s {
			case "files", "compat", "systemd":
			default:
				if !strings.HasPrefix(s, "[") { // what to do next: [NOTFOUND=return]
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// lines calls f with each line that is neither empty nor a comment. A line that is
// too long is an error, which names it.
func lines(name string, r io.Reader, f func(n int, line string)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, lineMax)
	n := 0
	for s.Scan() {
		n++
		if line := strings.TrimRight(s.Text(), " \t\r"); line != "" && line[0] != '#' {
			f(n, line)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	return nil
}

func number(s string, to *uint32) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	*to = uint32(n)
	return err == nil
}

func skip(name string, line int, why string) inventory.Skipped {
	return inventory.Skipped{Origin: inventory.Origin{Source: name, Line: line}, Why: why}
}
