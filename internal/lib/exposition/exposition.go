// Package exposition finds samples in Prometheus' text form without reading all
// of it into memory: an API server's page has tens of megabytes, of which a few
// lines matter.
package exposition

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Sample is one line.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Max bounds a page in bytes. That of a large cluster's API server has some
// 30 MB.
const Max = 256 << 20

// lineMax bounds a line; longer ones are passed over.
const lineMax = 8 << 10

// ErrForm says that a sample is not in Prometheus' text form.
var ErrForm = errors.New("not in Prometheus' text form")

// Find yields the samples of the named metrics, in order. A line of another
// metric is not looked at; one that is not understood ends it with an error that
// wraps ErrForm, as does an error of r.
func Find(r io.Reader, names ...string) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		in := bufio.NewReaderSize(io.LimitReader(r, Max), lineMax)
		for {
			line, err := in.ReadSlice('\n')
			long := err == bufio.ErrBufferFull
			for err == bufio.ErrBufferFull {
				_, err = in.ReadSlice('\n')
			}
			if !long {
				if s, ok, bad := read(string(line), names); bad != nil || ok {
					if !yield(s, bad) || bad != nil {
						return
					}
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Sample{}, err)
				return
			}
		}
	}
}

// read reads a line: name{label="value",…} number [time].
func read(line string, names []string) (s Sample, ok bool, err error) {
	end := strings.IndexAny(line, "{ \t")
	if end < 0 {
		return s, false, nil
	}
	for _, n := range names {
		ok = ok || n == line[:end]
	}
	if !ok {
		return s, false, nil
	}
	s.Name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		if s.Labels, rest, ok = labels(rest[1:]); !ok {
			return s, true, fmt.Errorf("%w: %.100q", ErrForm, line)
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 || len(fields) > 2 {
		return s, true, fmt.Errorf("%w: %.100q", ErrForm, line)
	}
	if s.Value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return s, true, fmt.Errorf("%w: %.100q", ErrForm, line)
	}
	return s, true, nil
}

// labels reads label="value",…} and returns what follows. A name that comes twice
// is refused.
func labels(text string) (out map[string]string, rest string, ok bool) {
	out = map[string]string{}
	for {
		text = strings.TrimLeft(text, " ,")
		if rest, ok = strings.CutPrefix(text, "}"); ok {
			return out, rest, true
		}
		name, after, found := strings.Cut(text, `="`)
		_, twice := out[name]
		if !found || twice {
			return nil, "", false
		}
		if out[name], text, ok = quoted(after); !ok {
			return nil, "", false
		}
	}
}

// quoted reads a value up to its closing quote.
func quoted(text string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return "", "", false
			}
			switch text[i] {
			case 'n':
				b.WriteByte('\n')
			case '"', '\\':
				b.WriteByte(text[i])
			default:
				return "", "", false
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", false
}
