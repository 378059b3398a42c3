package audit

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape undoes JSON's escapes as encoding/json does: half a surrogate pair
// becomes U+FFFD. Bytes that are not UTF-8 stay as they are.
func unescape(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			var r rune
			r, i = unescapeRune(s, i)
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return out
}

// unescapeRune reads what follows the u at i and returns the index of the last
// byte that it used.
func unescapeRune(s []byte, i int) (rune, int) {
	r := hex4(s, i+1)
	if r < 0 {
		return utf8.RuneError, i
	}
	i += 4
	if !utf16.IsSurrogate(r) {
		return r, i
	}
	if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
		if low := hex4(s, i+3); low >= 0 {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, i + 6
			}
		}
	}
	return utf8.RuneError, i
}

func hex4(s []byte, i int) rune {
	if i+4 > len(s) {
		return -1
	}
	var r rune
	for _, c := range s[i : i+4] {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r += rune(c - '0')
		case c >= 'a' && c <= 'f':
			r += rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			r += rune(c-'A') + 10
		default:
			return -1
		}
	}
	return r
}
