package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store/ledger"
)

// proof is one run of Verify. It holds one entry per session, and otherwise a
// record at a time.
type proof struct {
	r      *Reader
	tx     *sql.Tx
	key    note.Verifier
	report Report

	tree       ledger.Tree
	pruned     [][2]int64 // positions that prune records name, ascending and disjoint
	earlier    []ledger.Checkpoint
	sessions   map[session.ID]lastSeen
	findings   map[finding.ID]findingRow
	recordings map[string]recordingRow
	// proven is the size of the tree at the last checkpoint that fitted, first
	// the first record after it.
	proven int64
	first  Damage
}

// lastSeen is a session's last record so far, with a hash over what its row in
// table session must be.
type lastSeen struct {
	seq    int64
	number uint32
	row    [16]byte
}

// leafRow is a row of table record, with the checkpoint over it and all before
// it, if there is one.
type leafRow struct {
	seq    int64
	kind   int
	prev   sql.NullInt64
	hashes []byte
	body   []byte
	note   []byte
}

func newProof(r *Reader, tx *sql.Tx, key note.Verifier) *proof {
	return &proof{
		r: r, tx: tx, key: key, sessions: make(map[session.ID]lastSeen),
		findings: make(map[finding.ID]findingRow), recordings: make(map[string]recordingRow),
	}
}

func (p *proof) run(ctx context.Context, earlier [][]byte) (*Damage, error) {
	if d := p.readEarlier(earlier); d != nil {
		return d, nil
	}
	if err := p.readPruned(ctx); err != nil {
		return p.unreadable(0, err)
	}
	if d, err := p.records(ctx); d != nil || err != nil {
		return d, err
	}
	if d, err := p.ending(ctx); d != nil || err != nil {
		return d, err
	}
	if d, err := p.table(ctx); d != nil || err != nil {
		return d, err
	}
	if d, err := listed(ctx, p, "finding", "id, seq, time, severity, rule, session", p.findings, &p.report.Findings); d != nil || err != nil {
		return d, err
	}
	return listed(ctx, p, "recording", "id, seq, state, started, size, session", p.recordings, &p.report.Recordings)
}

// unreadable reports damage to the file below the level of records.
func (p *proof) unreadable(position int64, err error) (*Damage, error) {
	err = explain(p.r.file, err)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return &Damage{Position: position, What: "cannot be read: " + damaged.Error()}, nil
	}
	return nil, err
}

func (p *proof) readEarlier(saved [][]byte) *Damage {
	for _, signed := range saved {
		c, err := ledger.ParseCheckpoint(signed, p.key)
		if err != nil {
			what := "the file is no checkpoint, or was changed"
			if errors.Is(err, ledger.ErrSigner) {
				what = "the ledger is another one than when it was saved"
			}
			return &Damage{Position: -1, What: fmt.Sprintf("saved %v: %s", err, what)}
		}
		p.earlier = append(p.earlier, c)
	}
	slices.SortFunc(p.earlier, func(a, b ledger.Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return nil
}

// readPruned collects what prune records name. One that cannot be read is left
// out here: its own leaf will not fit.
func (p *proof) readPruned(ctx context.Context) error {
	rows, err := p.tx.QueryContext(ctx, `SELECT seq, body FROM record WHERE kind = 2 ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l leafRow
		if err := rows.Scan(&l.seq, &l.body); err != nil {
			return err
		}
		b, err := p.r.unpack(l.body, "")
		if err != nil {
			continue
		}
		c, err := decodeRecord(b)
		if err != nil || c.Prune == nil {
			continue
		}
		for _, r := range c.Prune.Records {
			if r[0] <= r[1] && r[1] < l.seq {
				p.pruned = append(p.pruned, r)
			}
		}
		if len(p.pruned) > 1<<16 {
			p.pruned = union(p.pruned)
		}
	}
	p.pruned = union(p.pruned)
	return rows.Err()
}

// records walks the ledger from its first record to its last.
func (p *proof) records(ctx context.Context) (*Damage, error) {
	rows, err := p.tx.QueryContext(ctx, `SELECT r.seq, r.kind, r.prev, r.hashes, r.body, c.note
		FROM record r LEFT JOIN checkpoint c ON c.size = r.seq + 1 ORDER BY r.seq`)
	if err != nil {
		return p.unreadable(0, err)
	}
	defer rows.Close()
	for rows.Next() {
		var l leafRow
		if err := rows.Scan(&l.seq, &l.kind, &l.prev, &l.hashes, &l.body, &l.note); err != nil {
			return p.unreadable(p.tree.Size(), err)
		}
		if d, err := p.record(ctx, l); d != nil || err != nil {
			return d, err
		}
	}
	if err := rows.Err(); err != nil {
		return p.unreadable(p.tree.Size(), err)
	}
	return nil, nil
}

func (p *proof) record(ctx context.Context, l leafRow) (*Damage, error) {
	if at := p.tree.Size(); l.seq != at {
		return p.missing(ctx, at, "it was removed")
	}
	this := Damage{Position: l.seq}
	leaf, err := p.leaf(l, &this)
	if err != nil {
		this.What = err.Error()
		return &this, nil
	}
	if p.tree.Size() == p.proven {
		p.first = this
	}
	if !bytes.Equal(joinHashes(p.tree.Append(leaf)), l.hashes) {
		this.What = "its content does not fit the hashes stored with it: one of them was changed"
		return &this, nil
	}
	p.report.Records++
	return p.checkpoints(l), nil
}

// leaf returns a record's leaf hash after checking its content, and fills in
// whose record it is.
func (p *proof) leaf(l leafRow, this *Damage) (ledger.Hash, error) {
	if l.body == nil {
		if !covered(p.pruned, l.seq) {
			return ledger.Hash{}, errors.New("its content was removed, and no prune record says so")
		}
		if len(l.hashes) < ledger.HashSize {
			return ledger.Hash{}, errors.New("its hash was removed")
		}
		p.report.Pruned++
		return ledger.Hash(l.hashes[:ledger.HashSize]), nil
	}
	b, err := p.r.frames.DecodeAll(l.body, nil)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("its content was changed: %w", err)
	}
	c, err := decodeRecord(b)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("its content was changed: %w", err)
	}
	leaf := ledger.Leaf(b)
	if c.Prune != nil {
		if l.kind != recordPrune {
			return leaf, errors.New("it is a prune record, stored as something else")
		}
		return leaf, nil
	}
	if c.Finding != nil {
		this.Session = c.Finding.Session
		return leaf, p.finding(l, leaf, *c.Finding)
	}
	if c.Recording != nil {
		this.Session = c.Recording.Session
		return leaf, p.recording(l, leaf, *c.Recording)
	}
	rev, err := c.Revision.revision()
	if err != nil {
		return leaf, fmt.Errorf("its content was changed: %w", err)
	}
	this.Session, this.Revision = rev.Session.ID, rev.Session.Revision
	if len(l.hashes) < ledger.HashSize || !bytes.Equal(leaf[:], l.hashes[:ledger.HashSize]) {
		return leaf, errors.New("its content was changed: it does not have the hash stored with it")
	}
	return leaf, p.chain(l, rev.Session, digest(c.Revision.Session))
}

// chain checks that a revision follows the session's last one.
func (p *proof) chain(l leafRow, s session.Session, sum []byte) error {
	p.report.Revisions++
	before, known := p.sessions[s.ID]
	switch {
	case l.kind != recordRevision:
		return errors.New("it is a revision, stored as something else")
	case s.Revision != before.number+1:
		return fmt.Errorf("the session's revision before it was %d", before.number)
	case l.prev.Valid != known || known && l.prev.Int64 != before.seq:
		return errors.New("it does not point at the session's revision before it")
	}
	row := rowOf(s, l.seq, s.Revision, sum)
	p.sessions[s.ID] = lastSeen{seq: l.seq, number: s.Revision, row: row.hash()}
	return nil
}

// finding checks a record of a finding.
func (p *proof) finding(l leafRow, leaf ledger.Hash, f finding.Finding) error {
	_, twice := p.findings[f.ID]
	switch {
	case l.kind != recordFinding:
		return errors.New("it is a finding, stored as something else")
	case len(l.hashes) < ledger.HashSize || !bytes.Equal(leaf[:], l.hashes[:ledger.HashSize]):
		return errors.New("its content was changed: it does not have the hash stored with it")
	case twice:
		return fmt.Errorf("finding %s is there twice", f.ID)
	}
	p.findings[f.ID] = findingOf(f, l.seq)
	return nil
}

// recording checks a record of a statement about a recording.
func (p *proof) recording(l leafRow, leaf ledger.Hash, r session.Recording) error {
	before, known := p.recordings[r.ID]
	switch {
	case l.kind != recordRecording:
		return errors.New("it is a statement about a recording, stored as something else")
	case len(l.hashes) < ledger.HashSize || !bytes.Equal(leaf[:], l.hashes[:ledger.HashSize]):
		return errors.New("its content was changed: it does not have the hash stored with it")
	case l.prev.Valid != known || known && l.prev.Int64 != before.seq:
		return errors.New("it does not point at the recording's statement before it")
	case before.state.Final() || r.Size < before.size:
		return fmt.Errorf("recording %s had ended, or gone further, before it", r.ID)
	}
	p.recordings[r.ID] = recordingOf(r, l.seq)
	return nil
}

// checkpoints holds the tree against the checkpoints over exactly what was read
// so far: the stored one and those that were saved elsewhere.
func (p *proof) checkpoints(l leafRow) *Damage {
	if l.note != nil {
		c, err := ledger.ParseCheckpoint(l.note, p.key)
		switch {
		case err != nil:
			return &Damage{Position: l.seq, What: fmt.Sprintf("the checkpoint over it was changed: %v", err)}
		case c.Size != p.tree.Size():
			return &Damage{Position: l.seq, What: fmt.Sprintf("the checkpoint over it is one over %d records", c.Size)}
		case c.Root != p.tree.Root():
			return p.since("does not fit the signed checkpoint")
		}
		p.proven = p.tree.Size()
		p.report.Checkpoints++
	}
	for len(p.earlier) > 0 && p.earlier[0].Size == p.tree.Size() {
		if p.earlier[0].Root != p.tree.Root() {
			return &Damage{Position: -1, What: fmt.Sprintf("one of the first %d records was changed since the checkpoint of %s was saved",
				p.earlier[0].Size, p.earlier[0].Time.Format("2006-01-02 15:04:05 MST"))}
		}
		p.earlier = p.earlier[1:]
	}
	return nil
}

// since names the first record that no checkpoint proves.
func (p *proof) since(what string) *Damage {
	d := p.first
	d.What = what
	if last := p.tree.Size() - 1; last > d.Position {
		d.What = fmt.Sprintf("it or one of the records up to %d was changed: %s", last, what)
	}
	return &d
}

// missing names a record that is not there, and whose it was if that can be told
// from what points at it.
func (p *proof) missing(ctx context.Context, at int64, what string) (*Damage, error) {
	d := &Damage{Position: at, What: what}
	var frame []byte
	err := p.tx.QueryRowContext(ctx, `SELECT id, revision FROM session WHERE seq = ?`, at).Scan(&d.Session, &d.Revision)
	if err == nil {
		return d, nil
	}
	if err := p.tx.QueryRowContext(ctx, `SELECT body FROM record WHERE prev = ?`, at).Scan(&frame); err != nil {
		return d, nil // nobody points at it: its position is all that is known
	}
	if rev, err := p.r.revision(at, frame); err == nil {
		d.Session, d.Revision = rev.Session.ID, rev.Session.Revision-1
	}
	return d, nil
}

// ending checks that the ledger ends where its checkpoints say.
func (p *proof) ending(ctx context.Context) (*Damage, error) {
	size := p.tree.Size()
	var last int64
	if err := p.tx.QueryRowContext(ctx, `SELECT coalesce(max(size), 0) FROM checkpoint`).Scan(&last); err != nil {
		return p.unreadable(size, err)
	}
	for _, c := range p.earlier {
		last = max(last, c.Size)
	}
	switch {
	case last > size:
		return p.missing(ctx, size, fmt.Sprintf("it was removed: a signed checkpoint is over %d records, %d are left", last, size))
	case p.proven < size:
		return p.since("no checkpoint covers it"), nil
	}
	return nil, nil
}
