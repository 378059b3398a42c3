package redact

import (
	"regexp"
	"strings"
)

// Shapes that are secrets wherever they stand.
var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)
	signed     = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*`)
	known      = regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|whsec_[A-Za-z0-9+/=]{20,})`)
	scheme     = regexp.MustCompile(`(?i)\b(bearer|basic)([ \t]+)([A-Za-z0-9+/=._~-]{8,})`)
	userinfo   = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://([^\s/?#"'@:]*)(:[^\s/?#"']*)?@`)
	assignment = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.-]*)(\\?["']?[ \t]{0,2}[=:][ \t]{0,4})`)
)

// text redacts a string of several words.
func (x *Redactor) text(s string, depth int) string {
	s = x.shapes(s)
	if depth >= deepest || strings.IndexFunc(s, isSpace) < 0 {
		return s
	}
	spans, breaks := split(s)
	list := make([]string, len(spans))
	for i, p := range spans {
		list[i] = s[p.from:p.to]
	}
	list, changed := x.words(list, depth+1, breaks)
	if !changed {
		return s
	}
	var b strings.Builder
	end := 0
	for i, p := range spans {
		b.WriteString(s[end:p.from])
		b.WriteString(list[i])
		end = p.to
	}
	b.WriteString(s[end:])
	return b.String()
}

// word redacts one argument by itself.
func (x *Redactor) word(w string, depth int) string {
	name, value, ok := strings.Cut(w, "=")
	if ok && value != "" && depth == 0 && isName(name) && x.secret(strings.TrimLeft(name, "-")) {
		return name + "=" + Mark // to the end of the argument, whatever is in it
	}
	if inner := unquote(w); len(inner) < len(w) {
		return wrap(w, x.text(inner, depth))
	}
	return x.text(w, depth)
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return s != ""
}

// shapes takes out what is a secret by its form or by the name beside it.
func (x *Redactor) shapes(s string) string {
	// Each expression costs a hundred times what it takes to see that it cannot
	// match.
	if strings.Contains(s, "-----BEGIN") {
		s = privateKey.ReplaceAllString(s, Mark)
	}
	if strings.Contains(s, "eyJ") {
		s = signed.ReplaceAllString(s, Mark)
	}
	if strings.ContainsAny(s, "_-") {
		s = known.ReplaceAllString(s, Mark)
	}
	if strings.ContainsAny(s, " \t") {
		s = scheme.ReplaceAllString(s, "${1}${2}"+Mark)
	}
	if strings.Contains(s, "://") {
		s = userinfo.ReplaceAllStringFunc(s, redactUserinfo)
	}
	if strings.ContainsAny(s, "=:") {
		s = x.assignments(s)
	}
	return s
}

// redactUserinfo takes the password out of scheme://user:password@. With HTTP
// the user may be the token itself.
func redactUserinfo(m string) string {
	p := userinfo.FindStringSubmatch(m)
	web := strings.HasSuffix(strings.ToLower(p[1]), "http") || strings.HasSuffix(strings.ToLower(p[1]), "https")
	switch {
	case web && p[2]+p[3] != "":
		return p[1] + "://" + Mark + "@"
	case len(p[3]) > 1:
		return p[1] + "://" + p[2] + ":" + Mark + "@"
	}
	return m
}

// assignments takes the values out of name=value and name: value.
func (x *Redactor) assignments(s string) string {
	var b strings.Builder
	done := 0
	for at := 0; at < len(s); {
		m := assignment.FindStringSubmatchIndex(s[at:])
		if m == nil {
			break
		}
		name, sep, from := s[at+m[2]:at+m[3]], s[at+m[4]:at+m[5]], at+m[1]
		at = from
		if !x.secret(strings.TrimLeft(name, "-")) || strings.HasPrefix(s[from:], "//") {
			continue
		}
		lo, hi := valueAt(s, from, strings.Contains(sep, ":"))
		if hi > lo {
			b.WriteString(s[done:lo])
			b.WriteString(Mark)
			done, at = hi, hi
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// valueAt returns where the value that begins at from lies, without quotes.
func valueAt(s string, from int, header bool) (lo, hi int) {
	rest := s[from:]
	for _, q := range []string{`\"`, `\'`, `"`, `'`} {
		if inner, ok := strings.CutPrefix(rest, q); ok {
			lo = from + len(q)
			if end := strings.Index(inner, q); end >= 0 {
				return lo, lo + end
			}
			return lo, len(s)
		}
	}
	stop := " \t\r\n\"'&;|"
	if header {
		stop = "\r\n\"'"
	}
	if strings.HasPrefix(rest, Mark) {
		return from, from + len(Mark)
	}
	if end := strings.IndexAny(rest, stop); end >= 0 {
		return from, from + end
	}
	return from, len(s)
}

type span struct{ from, to int }

// split returns the words of a script, and which of them begin a command. It
// follows quotes as far as to keep together what is quoted as a whole.
func split(s string) (words []span, breaks []bool) {
	begins := true
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\n', strings.IndexByte(";|&()", c) >= 0:
			begins = true
			i++
		case isSpace(rune(c)):
			i++
		default:
			end := wordEnd(s, i)
			words = append(words, span{i, end})
			breaks = append(breaks, begins)
			begins, i = false, end
		}
	}
	return words, breaks
}

// wordEnd returns where the word that begins at i ends.
func wordEnd(s string, i int) int {
	var quote byte
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case isSpace(rune(c)) || strings.IndexByte(";|&()", c) >= 0:
			return i
		}
	}
	return len(s)
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }
