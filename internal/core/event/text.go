package event

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Text is a string from outside that need not be UTF-8: a path, a file name, a
// process's name. In JSON it is a string when it is valid UTF-8 and
// {"base64": "…"} when it is not, so that it survives storage byte by byte.
type Text string

type base64Text struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(base64Text{base64.StdEncoding.EncodeToString([]byte(t))})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var v base64Text
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(v.Base64)
		*t = Text(raw)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

// Base64Args returns args encoded one by one when any of them is not valid
// UTF-8, and nil when JSON strings can hold them all.
func Base64Args(args []string) []string {
	for _, a := range args {
		if !utf8.ValidString(a) {
			out := make([]string, len(args))
			for i, a := range args {
				out[i] = base64.StdEncoding.EncodeToString([]byte(a))
			}
			return out
		}
	}
	return nil
}

// DecodeBase64Args undoes Base64Args.
func DecodeBase64Args(enc []string) ([]string, error) {
	args := make([]string, len(enc))
	for i, e := range enc {
		raw, err := base64.StdEncoding.DecodeString(e)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, err)
		}
		args[i] = string(raw)
	}
	return args, nil
}

// MarshalJSON implements json.Marshaler. Arguments that are not valid UTF-8
// come a second time, exact, as "base64".
func (a Argv) MarshalJSON() ([]byte, error) {
	type plain Argv
	return json.Marshal(struct {
		plain
		Base64 []string `json:"base64,omitempty"`
	}{plain(a), Base64Args(a.Args)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Argv) UnmarshalJSON(b []byte) error {
	type plain Argv
	v := struct {
		*plain
		Base64 []string `json:"base64"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Base64 == nil {
		return nil
	}
	args, err := DecodeBase64Args(v.Base64)
	if err == nil {
		a.Args = args
	}
	return err
}
