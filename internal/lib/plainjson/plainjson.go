// Package plainjson parses JSON whose meaning does not depend on who reads it:
// one value, in which no object has a member twice, not even in another case.
// encoding/json would take the last one, other readers the first.
package plainjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrTwice says that an object has a member twice.
var ErrTwice = errors.New("an object has a member twice")

// depthMax bounds how deep a value may be nested.
const depthMax = 64

// Unmarshal parses data into v.
func Unmarshal(data []byte, v any) error {
	if err := check(data); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func check(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := value(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func value(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	open, ok := t.(json.Delim)
	if err != nil || !ok {
		return err
	}
	if depth == depthMax {
		return fmt.Errorf("nested deeper than %d", depthMax)
	}
	var names map[string]bool
	for dec.More() {
		if open == '{' {
			t, err := dec.Token()
			if err != nil {
				return err
			}
			name := strings.ToLower(t.(string)) // the decoder sees to that
			if names[name] {
				return fmt.Errorf("%w: %q", ErrTwice, name)
			}
			if names == nil {
				names = map[string]bool{}
			}
			names[name] = true
		}
		if err := value(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}
