package store

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/sallyport/sallyport/internal/core/session"
)

// hash returns a short hash over a row.
func (r row) hash() [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %d %x %d %d %t %t %t %q %q %q %q", string(r.id), r.seq, r.revision, r.digest,
		r.started, r.last, r.open, r.superseded, r.unexplnd, r.kind, r.channel, r.container, r.actors))
	return [16]byte(sum[:16])
}

// table holds the table of sessions against the ledger.
func (p *proof) table(ctx context.Context) (*Damage, error) {
	rows, err := p.tx.QueryContext(ctx, `SELECT id, seq, revision, digest, started, last, open, superseded,
		unexplained, kind, channel, container, actors FROM session ORDER BY id`)
	if err != nil {
		return p.unreadable(-1, err)
	}
	defer rows.Close()
	var found *Damage
	note := func(position int64, id session.ID, number uint32, what string) {
		if found == nil || position < found.Position {
			found = &Damage{Position: position, Session: id, Revision: number, What: what}
		}
	}
	for rows.Next() {
		var r row
		if err := rows.Scan(r.fields()...); err != nil {
			return p.unreadable(-1, err)
		}
		want, ok := p.sessions[r.id]
		switch {
		case !ok:
			note(r.seq, r.id, r.revision, "the table of sessions lists it, the ledger has no record of it")
		case r.hash() != want.row:
			note(want.seq, r.id, want.number, "the table of sessions says something else than the session's last record")
		}
		delete(p.sessions, r.id)
		p.report.Sessions++
	}
	for id, want := range p.sessions {
		note(want.seq, id, want.number, "its session was removed from the table of sessions")
	}
	if err := rows.Err(); err != nil {
		return p.unreadable(-1, err)
	}
	return found, nil
}

// findingTable holds the table of findings against the ledger.
func (p *proof) findingTable(ctx context.Context) (*Damage, error) {
	rows, err := p.tx.QueryContext(ctx, `SELECT id, seq, time, severity, rule, session FROM finding ORDER BY seq`)
	if err != nil {
		return p.unreadable(-1, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r findingRow
		if err := rows.Scan(r.fields()...); err != nil {
			return p.unreadable(-1, err)
		}
		want, ok := p.findings[r.id]
		switch {
		case !ok:
			return &Damage{Position: r.seq, Session: r.session, What: "the table of findings lists it, the ledger has no record of it"}, nil
		case r != want:
			return &Damage{Position: want.seq, Session: want.session, What: "the table of findings says something else than the finding's record"}, nil
		}
		delete(p.findings, r.id)
		p.report.Findings++
	}
	if err := rows.Err(); err != nil {
		return p.unreadable(-1, err)
	}
	var first *Damage
	for _, want := range p.findings {
		if first == nil || want.seq < first.Position {
			first = &Damage{Position: want.seq, Session: want.session, What: "its finding was removed from the table of findings"}
		}
	}
	return first, nil
}

// recordingTable holds the table of recordings against the ledger.
func (p *proof) recordingTable(ctx context.Context) (*Damage, error) {
	rows, err := p.tx.QueryContext(ctx, `SELECT id, seq, state, started, size, session FROM recording ORDER BY seq`)
	if err != nil {
		return p.unreadable(-1, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r recordingRow
		if err := rows.Scan(r.fields()...); err != nil {
			return p.unreadable(-1, err)
		}
		want, ok := p.recordings[r.id]
		switch {
		case !ok:
			return &Damage{Position: r.seq, Session: r.session, What: "the table of recordings lists it, the ledger has no record of it"}, nil
		case r != want:
			return &Damage{Position: want.seq, Session: want.session, What: "the table of recordings says something else than the recording's record"}, nil
		}
		delete(p.recordings, r.id)
		p.report.Recordings++
	}
	if err := rows.Err(); err != nil {
		return p.unreadable(-1, err)
	}
	var first *Damage
	for _, want := range p.recordings {
		if first == nil || want.seq < first.Position {
			first = &Damage{Position: want.seq, Session: want.session, What: "its recording was removed from the table of recordings"}
		}
	}
	return first, nil
}

func (r *row) fields() []any {
	return []any{
		&r.id, &r.seq, &r.revision, &r.digest, &r.started, &r.last, &r.open, &r.superseded,
		&r.unexplnd, &r.kind, &r.channel, &r.container, &r.actors,
	}
}
