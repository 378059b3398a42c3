// Package export sends what the product has found to other systems.
//
// An Exporter follows a Source of session revisions and findings, takes secrets
// out (export/redact, before anything else happens to a record), keeps what
// waits in a bounded queue on disk (export/queue) and gives it to a Destination
// in some Format: the sub-packages falco, ocsf, ecs, syslog and otlp have the
// formats, jsonl the product's own, post and syslog the ways to send.
//
// Contract: at least once, in the source's order. A record is acknowledged when
// its destination has taken it, or when it lies in the dead letter file because
// the destination never will. Nothing is dropped silently: a full queue stops
// the reading of the source, and is said in the log and in the figures.
package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Record is a revision of a session, or a finding: one of both.
type Record struct {
	// Position orders the records of a source; it never changes.
	Position int64
	Session  *session.Session
	Changed  []string // of a session: what changed since its last revision
	Finding  *finding.Finding
	// Missed counts the records before this one, and after the one before, that
	// the source does not have any more.
	Missed int64
}

// The types of record, as the field "type" names them.
const (
	TypeSession = "session"
	TypeFinding = "finding"
)

type recordJSON struct {
	Type     string           `json:"type"`
	Position int64            `json:"position"`
	Changed  []string         `json:"changed,omitempty"`
	Session  *session.Session `json:"session,omitempty"`
	Finding  *finding.Finding `json:"finding,omitempty"`
}

// MarshalJSON implements json.Marshaler. It is the product's own form: a type,
// a position, and the public JSON form of a session or a finding.
func (r Record) MarshalJSON() ([]byte, error) {
	v := recordJSON{Position: r.Position, Changed: r.Changed, Session: r.Session, Finding: r.Finding}
	switch {
	case r.Session != nil && r.Finding == nil:
		v.Type = TypeSession
	case r.Finding != nil && r.Session == nil:
		v.Type = TypeFinding
	default:
		return nil, errors.New("record: want a session or a finding")
	}
	return json.Marshal(v)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Record) UnmarshalJSON(b []byte) error {
	var v recordJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if (v.Session != nil) != (v.Type == TypeSession) || (v.Finding != nil) != (v.Type == TypeFinding) ||
		(v.Session == nil) == (v.Finding == nil) {
		return fmt.Errorf("record of type %q: want a session or a finding, as its type says", v.Type)
	}
	*r = Record{Position: v.Position, Changed: v.Changed, Session: v.Session, Finding: v.Finding}
	return nil
}

// Time is when the record's subject happened, or last changed.
func (r Record) Time() time.Time {
	switch {
	case r.Finding != nil:
		return r.Finding.Time
	case r.Session.Ended != nil:
		return *r.Session.Ended
	}
	return r.Session.Started
}

// Source is the stream of what there is to send. It is at least once: a record
// may come again, with the same position.
type Source interface {
	// Follow yields the records after a position, -1 for all, in order of
	// position, up to the last one there is now.
	Follow(ctx context.Context, after int64) iter.Seq2[Record, error]
}

// Destination is a system that takes records. It is used by one goroutine.
type Destination interface {
	// Send returns nil when the receiver has taken all of records. A *Refused
	// says that it never will take them as they are; any other error, that they
	// are to be sent again. Until ctx ends it may take its time, within bounds
	// of its own.
	Send(ctx context.Context, records []Record) error
}

// Refused says that a receiver does not take something, however often it is
// asked.
type Refused struct {
	Reason string
	// Final says that a part of the records was taken and that nobody knows
	// which: sending them in smaller parts would only double them.
	Final bool
}

// Error implements error.
func (e *Refused) Error() string { return "refused: " + e.Reason }

// Later says that a receiver wants to be left alone for a time.
type Later struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *Later) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Later) Unwrap() error { return e.Err }

// Format turns records into what a receiver reads.
type Format struct {
	Name        string
	ContentType string // of a body
	// Single says that a body holds one message; otherwise it holds any number,
	// each with End behind it.
	Single bool
	End    string
	// Encode returns the messages that say what a record says, at least one. It
	// is pure: the same record gives the same bytes.
	Encode func(Record) ([][]byte, error)
}

// Origin is who exports: what formats say of the machine and the product.
type Origin struct {
	Host    string // host name
	Version string // of the product
}

// Node returns the name of the machine that a record is about.
func (o Origin) Node(r Record) string {
	node := ""
	switch {
	case r.Session != nil:
		node = r.Session.Target.Node
	case r.Finding != nil && r.Finding.Target != nil:
		node = r.Finding.Target.Node
	}
	return cmp.Or(node, o.Host, "unknown")
}

// Vendor and Product are the product's names in formats that have a place for
// them.
const (
	Vendor  = "Sallyport"
	Product = "Sallyport"
)

// Bodies returns the messages of records in bodies of about size bytes: one
// message in each where the format says so. A record that cannot be encoded is
// refused.
func (f Format) Bodies(records []Record, size int) ([][]byte, error) {
	var bodies [][]byte
	var body []byte
	for _, r := range records {
		messages, err := f.Encode(r)
		if err != nil {
			return nil, &Refused{Reason: fmt.Sprintf("encode as %s: %v", f.Name, err)}
		}
		for _, m := range messages {
			if len(body) > 0 && (f.Single || len(body)+len(m) > size) {
				bodies, body = append(bodies, body), nil
			}
			body = append(append(body, m...), f.End...)
		}
	}
	if len(body) > 0 {
		bodies = append(bodies, body)
	}
	return bodies, nil
}
