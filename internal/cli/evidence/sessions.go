package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/atmost"
	"github.com/sallyport/sallyport/internal/replay"
)

// Sessions reads sessions from a file: one JSON object a line, as `sessions
// --json` and `replay --json` print them, or a capture, which is replayed.
func Sessions(name string) ([]session.Session, error) {
	if !strings.HasSuffix(name, ".jsonl") && !strings.HasSuffix(name, ".json") {
		return replaySessions(name)
	}
	data, err := atmost.ReadFile(name, sessionsFileMax)
	if err != nil {
		return nil, err
	}
	var out []session.Session
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var s session.Session
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		out = append(out, s)
	}
	return out, lines.Err()
}

// sessionsFileMax bounds a file of sessions for a rule test.
const sessionsFileMax = 64 << 20

// replaySessions plays a capture and returns every revision, as rules see them.
func replaySessions(name string) ([]session.Session, error) {
	var out []session.Session
	_, err := replay.Play(readCapture(name), correlate.Options{}, func(r session.Revision) error {
		out = append(out, r.Session)
		return nil
	})
	return out, err
}
