package hosts

import (
	"fmt"
	"slices"
	"strings"
)

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
