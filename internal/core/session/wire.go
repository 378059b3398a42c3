package session

import (
	"encoding/json"

	"github.com/sallyport/sallyport/internal/core/event"
)

// argvJSON is how an argument list appears in JSON: "argv" always holds strings
// that any parser reads (invalid UTF-8 replaced), and "argv_base64" the exact
// bytes when the two differ.
type argvJSON struct {
	Argv       []string `json:"argv,omitempty"`
	ArgvBase64 []string `json:"argv_base64,omitempty"`
}

func encodeArgv(args []string) argvJSON {
	return argvJSON{Argv: args, ArgvBase64: event.Base64Args(args)}
}

func (a argvJSON) decode() ([]string, error) {
	if a.ArgvBase64 == nil {
		return a.Argv, nil
	}
	return event.DecodeBase64Args(a.ArgvBase64)
}

// MarshalJSON implements json.Marshaler.
func (s Session) MarshalJSON() ([]byte, error) {
	type plain Session
	return json.Marshal(struct {
		plain
		argvJSON
	}{plain(s), encodeArgv(s.Argv)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Session) UnmarshalJSON(b []byte) error {
	type plain Session
	v := struct {
		*plain
		argvJSON
	}{plain: (*plain)(s)}
	err := json.Unmarshal(b, &v)
	if err == nil {
		s.Argv, err = v.decode()
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (a Actor) MarshalJSON() ([]byte, error) {
	type plain Actor
	return json.Marshal(struct {
		plain
		argvJSON
	}{plain(a), encodeArgv(a.Argv)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Actor) UnmarshalJSON(b []byte) error {
	type plain Actor
	v := struct {
		*plain
		argvJSON
	}{plain: (*plain)(a)}
	err := json.Unmarshal(b, &v)
	if err == nil {
		a.Argv, err = v.decode()
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (p Process) MarshalJSON() ([]byte, error) {
	type plain Process
	return json.Marshal(struct {
		plain
		StartBoot uint64 `json:"start_boot"`
		argvJSON
	}{plain(p), p.ID.Start, encodeArgv(p.Argv)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Process) UnmarshalJSON(b []byte) error {
	type plain Process
	v := struct {
		*plain
		StartBoot uint64 `json:"start_boot"`
		argvJSON
	}{plain: (*plain)(p)}
	err := json.Unmarshal(b, &v)
	if err == nil {
		p.ID = event.ProcessID{PID: p.PID, Start: v.StartBoot}
		p.Argv, err = v.decode()
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (p Program) MarshalJSON() ([]byte, error) {
	type plain Program
	return json.Marshal(struct {
		plain
		argvJSON
	}{plain(p), encodeArgv(p.Argv)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Program) UnmarshalJSON(b []byte) error {
	type plain Program
	v := struct {
		*plain
		argvJSON
	}{plain: (*plain)(p)}
	err := json.Unmarshal(b, &v)
	if err == nil {
		p.Argv, err = v.decode()
	}
	return err
}
