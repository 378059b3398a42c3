package store

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/jsonform"
	"github.com/sallyport/sallyport/internal/core/session"
)

const (
	// chunkMax bounds the observations in one row, in bytes of wire form; one
	// larger observation has a row of its own.
	chunkMax = 1 << 20
	// unpackMax bounds what one stored frame may unfold to, in bytes.
	unpackMax = 64 << 20
)

// chunk is a row of observations.
type chunk struct {
	earliest, latest int64 // ns since 1970
	count            int
	body             []byte
}

// chunks packs observations into rows, in order.
func (p *packer) chunks(obs []event.Observation) ([]chunk, error) {
	var out []chunk
	c := chunk{}
	p.line = p.line[:0]
	flush := func() {
		if c.count > 0 {
			c.body = p.zstd.EncodeAll(p.line, nil)
			out = append(out, c)
		}
		c, p.line = chunk{}, p.line[:0]
	}
	for _, o := range obs {
		before := len(p.line)
		line, err := appendLine(p.line, o)
		if err != nil {
			return nil, err
		}
		if n := len(line) - before; n > unpackMax-1 {
			return nil, fmt.Errorf("store %s: %d bytes are more than one observation may have", event.Name(o), n)
		}
		if len(line) >= chunkMax && before > 0 { // it begins the next row
			last := line[before:]
			flush()
			line = append(p.line, last...) // moves it down in place
		}
		t := nanos(o.Head().Time)
		if c.count == 0 {
			c.earliest, c.latest = t, t
		}
		c.earliest, c.latest, c.count = min(c.earliest, t), max(c.latest, t), c.count+1
		p.line = append(line, '\n')
	}
	flush()
	if cap(p.line) > 2*chunkMax {
		p.line = nil
	}
	return out, nil
}

// nanos returns t in ns since 1970, at the nearest end where an int64 cannot
// hold it.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, -1<<63)):
		return -1 << 63
	case t.After(time.Unix(0, 1<<63-1)):
		return 1<<63 - 1
	}
	return t.UnixNano()
}

// Kinds of ledger record.
const (
	recordRevision  = 1
	recordPrune     = 2
	recordFinding   = 3
	recordRecording = 4
)

// content is the content of a ledger record: exactly one of its fields. What is
// hashed is these bytes as they were written; they are never encoded again.
type content struct {
	Revision  *revisionContent   `json:"revision,omitempty"`
	Prune     *pruneContent      `json:"prune,omitempty"`
	Finding   *finding.Finding   `json:"finding,omitempty"`
	Recording *session.Recording `json:"recording,omitempty"`
}

type revisionContent struct {
	Number  uint32          `json:"number"`
	Changed []string        `json:"changed,omitempty"`
	Session json.RawMessage `json:"session"` // its own revision field is 0 here
}

// pruneContent says what retention took away. It takes the place of what is
// gone in the proof: a record without content is damage unless a later prune
// record names it.
type pruneContent struct {
	Time time.Time `json:"time"`
	Why  string    `json:"why"` // "age" or "size"
	// Records are ranges [first, last] of ledger positions.
	Records [][2]int64 `json:"records"`
}

// appendSession appends the JSON of a session without its revision number, which
// is what tells two revisions apart.
func appendSession(b []byte, s session.Session) ([]byte, error) {
	s.Revision = 0
	b, err := s.AppendJSON(b)
	if err != nil {
		return nil, fmt.Errorf("store session %s: %w", s.ID, err)
	}
	return b, nil
}

// appendRevision appends the content of a record around a session's JSON, so
// that it is encoded once.
func appendRevision(b []byte, number uint32, changed []string, body []byte) []byte {
	w := jsonform.Writer{B: b}
	w.Begin()
	w.Name("revision")
	w.Begin()
	w.Uint("number", uint64(number))
	w.SomeTexts("changed", changed)
	w.Name("session")
	w.B = append(w.B, body...)
	w.End()
	w.End()
	return w.B
}

// decodeRecord parses the content of a ledger record.
func decodeRecord(b []byte) (content, error) {
	var c content
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("record: %w", err)
	}
	parts := 0
	for _, there := range []bool{c.Revision != nil, c.Prune != nil, c.Finding != nil, c.Recording != nil} {
		if there {
			parts++
		}
	}
	if parts != 1 {
		return c, errors.New("record: not one of revision, prune, finding and recording")
	}
	return c, nil
}

// revision returns what was appended, with its number.
func (r *revisionContent) revision() (session.Revision, error) {
	rev := session.Revision{Changed: r.Changed}
	if err := json.Unmarshal(r.Session, &rev.Session); err != nil {
		return rev, fmt.Errorf("record: %w", err)
	}
	rev.Session.Revision = r.Number
	return rev, nil
}

// digest tells contents of sessions apart; see encodeSession.
func digest(body []byte) []byte {
	sum := sha256.Sum256(body)
	return sum[:16]
}
