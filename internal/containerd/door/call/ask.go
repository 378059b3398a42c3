package call

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what is asked and answered, in bytes.
const (
	// FileMax bounds a file that the runtime is given.
	FileMax     = 4 << 20
	QuestionMax = 3 * FileMax
	answerMax   = 64 << 10
)

// Question is what a door is asked: a command that is to begin, and the files that
// say how, as they are read.
type Question struct {
	Line Line
	// Unclear says why it cannot be told what begins; then only Line may be there,
	// and only in part.
	Unclear string `json:",omitempty"`
	// Process is the file of an exec's --process; absent where the command line has
	// the command.
	Process json.RawMessage `json:",omitempty"`
	// Config is the container's config.json; of an exec absent where it was not
	// found.
	Config json.RawMessage `json:",omitempty"`
}

// Answer is what a door says.
type Answer struct {
	Allow   bool
	Message string `json:",omitempty"` // why not
}

// NewQuestion asks about a command line, which was read with that error or nil.
func NewQuestion(l *Line, err error) *Question {
	q := &Question{Line: *l}
	if err == nil {
		err = q.read()
	}
	if err != nil {
		q.Unclear = err.Error()
	}
	return q
}

// read reads the files that the command line names.
func (q *Question) read() (err error) {
	l := &q.Line
	if l.Verb != Exec {
		q.Config, err = readJSON(filepath.Join(l.Bundle, "config.json"))
		return err
	}
	if l.Process != "" {
		if q.Process, err = readJSON(l.Process); err != nil {
			return err
		}
	}
	if bundle := l.bundleOf(); bundle != "" {
		q.Config, err = readJSON(filepath.Join(bundle, "config.json"))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return err
}

// bundleOf returns the bundle of a container that runs, as the runtime itself noted it
// (runc, libcontainer: state.json has it among the labels); "" when it did not.
func (l *Line) bundleOf() string {
	data, err := readJSON(filepath.Join(l.Root, l.Container, "state.json"))
	if err != nil {
		return ""
	}
	var state struct {
		Config struct {
			Labels []string `json:"labels"`
		} `json:"config"`
	}
	if json.Unmarshal(data, &state) != nil {
		return ""
	}
	for _, label := range state.Config.Labels {
		if bundle, ok := strings.CutPrefix(label, "bundle="); ok {
			return bundle
		}
	}
	return ""
}

func readJSON(path string) (json.RawMessage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, FileMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > FileMax:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, FileMax)
	case !json.Valid(data):
		return nil, fmt.Errorf("%s is no JSON", path)
	}
	return data, nil
}

// ErrNobody says that nobody answers at the door.
var ErrNobody = errors.New("nobody answers at the door")

// Ask asks the door at a unix socket. It waits for as long as the door takes; an error
// that is ErrNobody was there before the door had the question.
func Ask(ctx context.Context, socket string, q *Question) (Answer, error) {
	var a Answer
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrNobody, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return a, fmt.Errorf("ask at %s: %w", socket, err)
	}
	err = json.NewDecoder(io.LimitReader(c, answerMax)).Decode(&a)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return Answer{}, fmt.Errorf("the door at %s ended before it answered: %w", socket, err)
	}
	if !a.Allow {
		a.Message = cmp.Or(a.Message, "refused")
	}
	return a, nil
}
