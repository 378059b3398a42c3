package hosts

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// rule takes a line that gives somebody commands:
//
//	USERS HOSTS = COMMANDS [: HOSTS = COMMANDS]...
func (s *sudoers) rule(l sudoLine) error {
	who, rest := list(l.text, "")
	who, err := s.expand("User_Alias", who)
	if err != nil {
		return err
	}
	base := inventory.SudoRule{Origin: inventory.Origin{Source: "/" + l.file, Line: l.n}}
	for _, w := range who {
		if why := s.who(w, &base); why != "" {
			s.skip(l.file, l.n, why)
		}
	}
	for first := true; first || rest != ""; first = false {
		var hosts []string
		hosts, rest = list(rest, "=")
		hosts, err := s.expand("Host_Alias", hosts)
		if err != nil {
			return err
		}
		after, ok := strings.CutPrefix(rest, "=")
		if !ok {
			return fmt.Errorf("%w: USERS HOSTS = COMMANDS is expected", errSudo)
		}
		here, why := s.here(hosts)
		if why != "" {
			s.skip(l.file, l.n, why)
		}
		if rest, err = s.commands(after, base, here); err != nil {
			return err
		}
	}
	return nil
}

// who adds a user or group of a rule. It returns why it could not.
func (s *sudoers) who(w string, to *inventory.SudoRule) string {
	var id uint32
	switch {
	case w == "":
		return "an empty name"
	case strings.HasPrefix(w, "+"), strings.HasPrefix(w, "%:"):
		return "who is in " + w + " is kept elsewhere"
	case strings.HasPrefix(w, "%#") && number(w[2:], &id):
		to.Groups = append(to.Groups, groupName(id, s.groups))
	case strings.HasPrefix(w, "%"):
		to.Groups = append(to.Groups, w[1:])
	case strings.HasPrefix(w, "#") && number(w[1:], &id):
		to.Users = append(to.Users, userName(id, s.users))
	default:
		to.Users = append(to.Users, w)
	}
	return ""
}

// here reports whether a list of hosts has this machine, and why that is not sure;
// then it is taken to be.
func (s *sudoers) here(hosts []string) (ok bool, why string) {
	short, _, _ := strings.Cut(s.host, ".")
	for _, h := range hosts {
		first, _, _ := strings.Cut(h, ".")
		switch {
		case h == "ALL", strings.EqualFold(h, s.host), strings.EqualFold(h, short), h == "localhost":
			return true, ""
		case strings.EqualFold(first, s.host), // with more behind it, which DNS may say of us (Defaults fqdn)
			strings.HasPrefix(h, "+"), strings.ContainsAny(h, "*?[:/"), strings.Trim(h, "0123456789.") == "":
			why = "whether " + h + " is this machine; it is taken to be"
		}
	}
	return why != "", why
}

// sudoTags are the words with a colon that may stand before a command.
var sudoTags = []string{
	"EXEC", "NOEXEC", "FOLLOW", "NOFOLLOW", "INTERCEPT", "NOINTERCEPT", "LOG_INPUT", "NOLOG_INPUT", "LOG_OUTPUT",
	"NOLOG_OUTPUT", "MAIL", "NOMAIL", "PASSWD", "NOPASSWD", "SETENV", "NOSETENV",
}

// commands takes the commands of a rule off the front of text, up to the colon
// before other hosts. As whom, and tags, hold for the commands behind them, too.
func (s *sudoers) commands(text string, base inventory.SudoRule, here bool) (rest string, err error) {
	r := base
	r.As = []string{"root"}
	for {
		as, noPasswd := r.As, r.NoPasswd
		if text, err = s.before(strings.TrimLeft(text, " \t"), &as, &noPasswd); err != nil {
			return "", err
		}
		if !slices.Equal(as, r.As) || noPasswd != r.NoPasswd {
			s.keep(r, here)
			r.As, r.NoPasswd, r.Commands = as, noPasswd, nil
		}
		var command string
		command, text = word(text)
		all, err := s.expand("Cmnd_Alias", []string{command})
		if err != nil {
			return "", err
		}
		for _, c := range all {
			r.Commands = append(r.Commands, undigested(c))
		}
		after, more := strings.CutPrefix(text, ",")
		if !more {
			s.keep(r, here)
			return strings.TrimLeft(strings.TrimPrefix(text, ":"), " \t"), nil
		}
		text = after
	}
}

// before takes what stands before a command: (USERS:GROUPS), options and tags.
func (s *sudoers) before(text string, as *[]string, noPasswd *bool) (string, error) {
	if inner, ok := strings.CutPrefix(text, "("); ok {
		inner, after, ok := strings.Cut(inner, ")")
		if !ok {
			return "", fmt.Errorf("%w: a parenthesis is not closed", errSudo)
		}
		users, groups, _ := strings.Cut(inner, ":")
		var err error
		if *as, err = s.as(users, groups); err != nil {
			return "", err
		}
		text = strings.TrimLeft(after, " \t")
	}
	for {
		n := len(text) - len(strings.TrimLeft(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"))
		name, after := text[:n], strings.TrimLeft(text[n:], " \t")
		switch {
		case strings.HasPrefix(after, ":") && slices.Contains(sudoTags, name):
			switch name {
			case "NOPASSWD":
				*noPasswd = true
			case "PASSWD":
				*noPasswd = false
			}
			text = strings.TrimLeft(after[1:], " \t")
		case n > 0 && strings.HasPrefix(after, "="): // CWD=/srv, TIMEOUT=5m: they give nothing
			after = strings.TrimLeft(after[1:], " \t")
			text = strings.TrimLeft(after[len(after)-len(strings.TrimLeftFunc(after, func(c rune) bool { return c != ' ' && c != '\t' })):], " \t")
		default:
			return text, nil
		}
	}
}

// as returns as whom commands are run: users by name, groups as "%NAME".
func (s *sudoers) as(users, groups string) (out []string, err error) {
	if strings.TrimSpace(users) != "" {
		names, err := s.expand("Runas_Alias", apart(users, ','))
		if err != nil {
			return nil, err
		}
		for _, u := range names {
			var id uint32
			if strings.HasPrefix(u, "#") && number(u[1:], &id) {
				u = userName(id, s.users)
			}
			out = append(out, u)
		}
		if slices.Contains(out, "ALL") || slices.Contains(out, "root") {
			return out, nil // a group beside these gives nothing more
		}
	}
	if strings.TrimSpace(groups) == "" {
		return nil, nil // oneself
	}
	names, err := s.expand("Runas_Alias", apart(groups, ','))
	for _, g := range names { // with a user besides it is what his command is in, whether he is or not
		out = append(out, "%"+strings.TrimPrefix(g, "%"))
	}
	return out, err
}

// word takes a command with its arguments off the front of text.
func word(text string) (command, rest string) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			if i++; i < len(text) {
				out.WriteByte(text[i])
			}
		case ',':
			return strings.TrimSpace(out.String()), text[i:]
		case ':':
			if !endsWithDigest(out.String()) {
				return strings.TrimSpace(out.String()), text[i:]
			}
			out.WriteByte(c)
		default:
			out.WriteByte(c)
		}
	}
	return strings.TrimSpace(out.String()), ""
}

// undigested takes the checksum off a command.
func undigested(c string) string {
	if digest, rest, ok := strings.Cut(c, ":"); ok && endsWithDigest(digest) {
		_, c, _ = strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	}
	return strings.Join(strings.Fields(c), " ")
}

// keep keeps a rule when it is about this machine and lets somebody run what
// matters.
func (s *sudoers) keep(r inventory.SudoRule, here bool) {
	all := r.Commands
	r.Commands = nil
	for _, c := range all {
		if strings.HasPrefix(c, "^") {
			s.skip(strings.TrimPrefix(r.Origin.Source, "/"), r.Origin.Line, "the regular expression "+c)
		} else if matters(c) {
			r.Commands = append(r.Commands, c)
		}
	}
	if here && len(r.Commands) > 0 && len(r.Users)+len(r.Groups) > 0 {
		s.rules = append(s.rules, r)
	}
}

// tools are the programs by which somebody gets a command into a container, or
// becomes who he runs them as.
var tools = []string{
	"docker", "podman", "nerdctl", "ctr", "crictl", "runc", "crun", "nsenter", "kubectl", "docker-compose", "buildctl",
	"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh", "script", "screen", "tmux", "su", "sudo", "env", "chroot", "unshare", "systemd-run", "busybox",
	"runuser", "setpriv", "doas", "nice", "nohup", "timeout", "setsid", "xargs", "flock", "watch",
}

// places are where programs are.
var places = []string{"/usr/bin/", "/bin/", "/usr/local/bin/", "/usr/sbin/", "/sbin/", "/usr/local/sbin/", "/snap/bin/"}

// matters reports whether a command is one of the tools, or may be.
func matters(c string) bool {
	name, _, _ := strings.Cut(c, " ")
	switch {
	case c == "ALL", c == "sudoedit":
		return true
	case !strings.HasPrefix(name, "/"):
		return false
	case strings.HasSuffix(name, "/"):
		return slices.Contains(places, name) // everything in it
	case !strings.ContainsAny(name, "*?["):
		return slices.Contains(tools, path.Base(name))
	}
	for _, p := range places {
		for _, t := range tools {
			if ok, err := path.Match(name, p+t); ok || err != nil {
				return true
			}
		}
	}
	return false
}
