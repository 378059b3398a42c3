package audit

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Facts is what the end of an audit log shows.
type Facts struct {
	Events    int // that were looked at
	Malformed int
	// Stages are those that occur among events that concern streams.
	Stages map[event.KubeStage]int
	Newest time.Time // of the last event; zero without one
}

// inspectMax is how much of a log Inspect looks at.
const inspectMax = 4 << 20

// Inspect looks at the end of an audit log.
func Inspect(path string) (Facts, error) {
	facts := Facts{Stages: map[event.KubeStage]int{}}
	buf, whole, err := tail(path)
	if err != nil {
		return facts, err
	}
	if !whole {
		_, buf, _ = bytes.Cut(buf, []byte("\n")) // begins within a line
	}
	for line := range bytes.Lines(buf) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		facts.see(line)
	}
	return facts, nil
}

// Shows reports whether the end of an audit log tells of the canary with a token.
func Shows(path, token string) (bool, error) {
	buf, _, err := tail(path)
	return bytes.Contains(buf, []byte(canaryPrefix+token)), err
}

// tail returns the end of a file, and whether that is all of it.
func tail(path string) (buf []byte, whole bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, false, err
	}
	buf = make([]byte, min(size, inspectMax))
	if _, err := f.ReadAt(buf, size-int64(len(buf))); err != nil && err != io.EOF {
		return nil, false, err
	}
	return buf, size == int64(len(buf)), nil
}

func (f *Facts) see(line []byte) {
	var q event.KubeRequest
	f.Events++
	ok, err := Parse(line, &q)
	switch {
	case err != nil:
		f.Malformed++
		return
	case ok && (q.Op == event.KubeExec || q.Op == event.KubeAttach || q.Op == event.KubePortForward):
		f.Stages[q.Stage]++
	}
	if at := firstTime(line); at.After(f.Newest) {
		f.Newest = at
	}
}

// Covers reports whether an API server can reach the receiver under host: a
// certificate that was made before the host had that name does not.
func (i *Identity) Covers(host string) error {
	o, err := i.Options("")
	if err != nil {
		return err
	}
	if err := o.Certificate.Leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("check identity: %w", err)
	}
	return nil
}
