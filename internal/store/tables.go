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

// listing is a row of a table in which each row says what one record does.
type listing[K comparable] interface {
	comparable
	key() K
	place() (seq int64, of session.ID)
}

// listed holds the table of a thing, such as finding, against what the ledger says of each.
// The rows that fit are counted, and taken from want.
func listed[K comparable, R listing[K], P interface {
	*R
	fields() []any
}](ctx context.Context, p *proof, thing, columns string, want map[K]R, count *int64) (*Damage, error) {
	damage := func(r R, what string) *Damage {
		seq, of := r.place()
		return &Damage{Position: seq, Session: of, What: what}
	}
	rows, err := p.tx.QueryContext(ctx, `SELECT `+columns+` FROM `+thing+` ORDER BY seq`)
	if err != nil {
		return p.unreadable(-1, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r R
		if err := rows.Scan(P(&r).fields()...); err != nil {
			return p.unreadable(-1, err)
		}
		switch says, ok := want[r.key()]; {
		case !ok:
			return damage(r, "the table of "+thing+"s lists it, the ledger has no record of it"), nil
		case r != says:
			return damage(says, "the table of "+thing+"s says something else than the "+thing+"'s record"), nil
		}
		delete(want, r.key())
		*count++
	}
	if err := rows.Err(); err != nil {
		return p.unreadable(-1, err)
	}
	var first *Damage
	for _, says := range want {
		if d := damage(says, "its "+thing+" was removed from the table of "+thing+"s"); first == nil || d.Position < first.Position {
			first = d
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
