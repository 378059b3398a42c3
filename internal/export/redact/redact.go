// Package redact takes secrets out of what leaves the machine.
//
// It knows secrets by their names and places, not by guessing: values of flags
// and variables that are called passwords or tokens, user information in URLs,
// authorization headers, short flags of programs for which they are
// unambiguous, and a few shapes that are nothing but secrets (private keys,
// signed tokens). What is said in another form, such as a bare password as an
// argument, typed input or base64, it does not find. The package is pure, and
// what it returns shares no memory with its input that it has changed.
package redact

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

// Rules adds to what is known already. The zero value adds nothing.
type Rules struct {
	// Names are further endings of names whose values are secrets, for example
	// "pin": flags, variables, headers, labels. Case and punctuation do not count.
	Names []string
	// Public are whole names whose values are not secret, whatever they end in.
	Public []string
	// Short lists, by program, further short flags that take a secret, with
	// their dash: {"mytool": {"-k"}}.
	Short map[string][]string
}

// Redactor applies rules. It may be used by several goroutines.
type Redactor struct {
	endings []string
	public  map[string]bool
	short   map[string][]shortFlag
}

// shortFlag is a flag of one program whose value is a secret.
type shortFlag struct {
	flag     string
	attached bool // the value is in the same argument
	separate bool // the value is the next argument
	user     bool // the value is user:password, of which the user stays
}

// New returns a redactor by the built-in rules and those given.
func New(r Rules) (*Redactor, error) {
	x := &Redactor{endings: slices.Clone(endings), public: map[string]bool{}, short: map[string][]shortFlag{}}
	for _, n := range r.Names {
		plain := squeeze(n)
		if len(plain) < 2 {
			return nil, fmt.Errorf("redact names: %q: want at least two letters or digits", n)
		}
		x.endings = append(x.endings, plain)
	}
	for _, n := range slices.Concat(public, r.Public) {
		x.public[squeeze(n)] = true
	}
	for program, flags := range short {
		x.short[program] = slices.Clone(flags)
	}
	for program, flags := range r.Short {
		for _, f := range flags {
			if len(f) < 2 || f[0] != '-' || program == "" {
				return nil, errors.New("redact short flags: want a program and flags such as -k")
			}
			x.short[program] = append(x.short[program], shortFlag{flag: f, attached: true, separate: true})
		}
	}
	return x, nil
}

// endings are what names of secrets end in, without case and punctuation.
var endings = []string{
	"password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets", "secretid", "token", "tokens",
	"apikey", "accesskey", "secretkey", "privatekey", "encryptionkey", "signingkey", "accountkey", "masterkey",
	"sharedkey", "sessionkey", "authkey", "credential", "credentials", "connectionstring", "authorization", "cookie",
}

// public are names that end like a secret's and are none.
var public = []string{"no-password", "no-token", "skip-password", "ask-password", "list-tokens"}

// short lists short flags that mean a secret in that program and nothing else.
var short = map[string][]shortFlag{
	"mysql":       {{flag: "-p", attached: true}},
	"mysqldump":   {{flag: "-p", attached: true}},
	"mysqladmin":  {{flag: "-p", attached: true}},
	"mysqlimport": {{flag: "-p", attached: true}},
	"mariadb":     {{flag: "-p", attached: true}},
	"sshpass":     {{flag: "-p", attached: true, separate: true}},
	"redis-cli":   {{flag: "-a", separate: true}, {flag: "--pass", separate: true}},
	"mongo":       {{flag: "-p", separate: true}},
	"mongosh":     {{flag: "-p", separate: true}},
	"mongodump":   {{flag: "-p", separate: true}},
	"ldapsearch":  {{flag: "-w", attached: true, separate: true}},
	"ldapmodify":  {{flag: "-w", attached: true, separate: true}},
	"ldapadd":     {{flag: "-w", attached: true, separate: true}},
	"smbclient":   {{flag: "-U", separate: true, user: true}},
	"curl": {
		{flag: "-u", attached: true, separate: true, user: true}, {flag: "--user", separate: true, user: true},
		{flag: "-U", attached: true, separate: true, user: true}, {flag: "--proxy-user", separate: true, user: true},
		{flag: "-b", attached: true, separate: true},
	},
}

// squeeze returns the letters and digits of a name, in lower case.
func squeeze(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteByte(c)
		}
	}
	return b.String()
}

// secret reports whether the value of something of this name is a secret.
func (x *Redactor) secret(name string) bool {
	if name == "PWD" || name == "OLDPWD" || name == "pwd" { // the shell's working directory
		return false
	}
	plain := squeeze(name)
	if x.public[plain] {
		return false
	}
	return slices.ContainsFunc(x.endings, func(e string) bool { return strings.HasSuffix(plain, e) })
}

// Args returns a command's arguments without secrets: as many as there were.
// It returns args itself when there is nothing to take out.
func (x *Redactor) Args(args []string) []string {
	out, changed := x.words(args, 0, nil)
	if !changed {
		return args
	}
	return out
}

// Text returns text, such as a script or a message, without secrets.
func (x *Redactor) Text(s string) string { return x.text(s, 0) }

// Value returns the value of something that has a name.
func (x *Redactor) Value(name, value string) string {
	if value != "" && x.secret(name) {
		return Mark
	}
	return x.Text(value)
}

// deepest is how far quotes within quotes are followed. Beyond it only what a
// word shows by itself is taken out.
const deepest = 4

// words redacts arguments, or the words of a script. breaks says before which
// words a new command begins; nil for one command.
func (x *Redactor) words(in []string, depth int, breaks []bool) ([]string, bool) {
	var out []string
	var flags []shortFlag // of the programs named so far
	var next *shortFlag   // takes the coming word
	set := func(i int, s string) {
		if s == in[i] {
			return
		}
		if out == nil {
			out = slices.Clone(in)
		}
		out[i] = s
	}
	for i, w := range in {
		if breaks != nil && breaks[i] {
			flags, next = nil, nil
		}
		bare := strings.Trim(w, `"'`)
		if next != nil && !isLongFlag(bare) {
			set(i, wrap(w, next.redacted(unquote(w))))
			next = nil
			continue
		}
		next = nil
		if of := x.short[path.Base(bare)]; len(of) > 0 && !slices.Contains(flags, of[0]) { // each program once
			flags = append(flags, of...)
		}
		if s, ok := attachedSecret(flags, w); ok {
			set(i, s)
			continue
		}
		if next = x.expects(flags, bare); next == nil {
			set(i, x.word(w, depth))
		}
	}
	if out == nil {
		return in, false
	}
	return out, true
}

// isLongFlag reports whether w is rather a flag than a value.
func isLongFlag(w string) bool {
	return len(w) > 2 && w[:2] == "--" && (w[2]|0x20 >= 'a' && w[2]|0x20 <= 'z')
}

// expects returns how to read the word after w, when that is a secret.
func (x *Redactor) expects(flags []shortFlag, w string) *shortFlag {
	for i := range flags {
		if flags[i].separate && flags[i].flag == w {
			return &flags[i]
		}
	}
	name := strings.TrimLeft(w, "-")
	if len(name) < len(w) && len(name) > 1 && !strings.ContainsAny(name, "=: \t\n/") && x.secret(name) {
		return &shortFlag{}
	}
	return nil
}

// attachedSecret redacts a word that is a short flag with its value.
func attachedSecret(flags []shortFlag, w string) (string, bool) {
	for _, f := range flags {
		if value, ok := strings.CutPrefix(w, f.flag); ok && f.attached && value != "" {
			return f.flag + wrap(value, f.redacted(unquote(value))), true
		}
	}
	return "", false
}

// redacted returns what stays of the flag's value.
func (f *shortFlag) redacted(value string) string {
	if value == "" {
		return value
	}
	if f.user {
		user, _, both := strings.Cut(value, ":")
		if !both {
			user, _, both = strings.Cut(value, "%") // as smbclient has it
		}
		if !both {
			return value
		}
		return value[:len(user)+1] + Mark
	}
	return Mark
}

// unquote returns a word without the quotes around it.
func unquote(w string) string {
	if len(w) >= 2 && (w[0] == '"' || w[0] == '\'') && w[len(w)-1] == w[0] {
		return w[1 : len(w)-1]
	}
	return w
}

// wrap puts the quotes of w around s.
func wrap(w, s string) string {
	if len(w) >= 2 && len(unquote(w)) < len(w) {
		return w[:1] + s + w[:1]
	}
	return s
}
