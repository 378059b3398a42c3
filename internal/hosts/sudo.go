package hosts

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

// aliasKinds are the words that define aliases.
var aliasKinds = []string{"User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias"}

// define takes the aliases of a line, and settings; false when it is a rule.
func (s *sudoers) define(l sudoLine) bool {
	word, rest, _ := strings.Cut(strings.ReplaceAll(l.text, "\t", " "), " ")
	if word == "Defaults" || strings.HasPrefix(word, "Defaults") && strings.IndexByte(":@>!", word[len("Defaults")]) >= 0 {
		return true // none of them gives somebody a command
	}
	if word == "Cmd_Alias" {
		word = "Cmnd_Alias"
	}
	if !slices.Contains(aliasKinds, word) {
		return false
	}
	for _, def := range apart(rest, ':') {
		name, list, ok := strings.Cut(def, "=")
		if name = strings.TrimSpace(name); !ok || !isAlias(name) {
			// A colon in a command that is not escaped, such as a digest's, ends up here.
			s.skip(l.file, l.n, fmt.Sprintf("%s: NAME = LIST is expected", word))
			continue
		}
		s.aliases[word+" "+name] = apart(list, ',')
	}
	return true
}

// apart splits s at a separator that is neither quoted, nor escaped, nor the colon
// of a digest.
func apart(s string, sep byte) (out []string) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case sep:
			if !quoted && (sep != ':' || !endsWithDigest(s[from:i])) {
				out = append(out, strings.TrimSpace(s[from:i]))
				from = i + 1
			}
		}
	}
	return append(out, strings.TrimSpace(s[from:]))
}

func endsWithDigest(s string) bool {
	for _, d := range []string{"sha224", "sha256", "sha384", "sha512"} {
		if strings.HasSuffix(strings.TrimRight(s, " \t"), d) {
			return true
		}
	}
	return false
}

func isAlias(s string) bool {
	if s == "" || s[0] < 'A' || s[0] > 'Z' || s == "ALL" {
		return false
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// expand replaces aliases of a kind. Items that are excepted, by a ! or another odd
// number of them on the way, are left out.
func (s *sudoers) expand(kind string, items []string) (out []string, err error) {
	visited := 0
	var walk func(items []string, excepted bool, depth int)
	walk = func(items []string, excepted bool, depth int) {
		for _, item := range items {
			excepted := excepted
			for strings.HasPrefix(item, "!") {
				item, excepted = strings.TrimLeft(item[1:], " \t"), !excepted
			}
			if visited++; depth > sudoNestMax || visited > sudoItemsMax {
				err = fmt.Errorf("%w: aliases in one another, deeper than %d or more than %d", errSudo, sudoNestMax, sudoItemsMax)
				return
			}
			switch list, ok := s.aliases[kind+" "+item]; {
			case ok:
				walk(list, excepted, depth+1)
			case excepted:
			case isAlias(item) && err == nil:
				err = fmt.Errorf("%w: there is no %s %s", errSudo, kind, item)
			default:
				out = append(out, item)
			}
		}
	}
	walk(items, false, 0)
	return out, err
}

// list takes a list of words off the front of text: words with commas between
// them. stops are what else ends a word.
func list(text, stops string) (items []string, rest string) {
	for {
		text = strings.TrimLeft(text, " \t")
		word, quoted, i := "", false, 0
		for ; i < len(text); i++ {
			c := text[i]
			if c == '\\' && i+1 < len(text) {
				i++
				word += string(text[i])
				continue
			}
			if c == '"' {
				quoted = !quoted
				continue
			}
			if c == '!' && strings.Trim(word, "!") == "" {
				for i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\t') {
					i++
				}
			} else if !quoted && (c == ',' || c == ' ' || c == '\t' || strings.IndexByte(stops, c) >= 0) {
				break
			}
			word += string(c)
		}
		items = append(items, word)
		text = strings.TrimLeft(text[i:], " \t")
		after, more := strings.CutPrefix(text, ",")
		if !more {
			return items, text
		}
		text = after
	}
}

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
