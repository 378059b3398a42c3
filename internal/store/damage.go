package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/internal/store/ledger"
)

// locateMax bounds the search for a damage: SQLite reads the file up to there.
const locateMax = 5 * time.Second

// locate turns SQLite's "malformed" into the place of the damage, as far as
// SQLite can tell in locateMax.
func locate(file string, cause error) error {
	d := &DamagedError{File: file, Offset: -1, What: cause.Error()}
	db, err := openSQL(file, "ro", readerPragmas)
	if err != nil {
		return d
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), locateMax)
	defer cancel()
	var size int64
	if err := db.QueryRowContext(ctx, `PRAGMA page_size`).Scan(&size); err != nil {
		if d.Offset, d.What = cutOff(file); d.Offset < 0 {
			d.Offset, d.What = 0, cause.Error() // not even the header can be read
		}
		return d
	}
	var report string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&report); err != nil || report == "ok" {
		return d
	}
	d.What = strings.TrimPrefix(report, "*** in database main ***\n")
	if m := pageInReport.FindStringSubmatch(report); m != nil {
		d.Page, _ = strconv.ParseInt(m[1], 10, 64)
		d.Offset = (d.Page - 1) * size
	}
	return d
}

// cutOff tells whether a database file is shorter than its header says, and
// from where on it is missing; -1 when it is not. Bytes 16 and 28 of the header
// are the page size and the size in pages (sqlite.org/fileformat2.html).
func cutOff(file string) (int64, string) {
	f, err := os.Open(file)
	if err != nil {
		return -1, ""
	}
	defer f.Close()
	var header [100]byte
	info, err := f.Stat()
	if _, rerr := f.ReadAt(header[:], 0); err != nil || rerr != nil || string(header[:16]) != "SQLite format 3\x00" {
		return -1, ""
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 {
		page = 1 << 16
	}
	whole := page * int64(binary.BigEndian.Uint32(header[28:]))
	if info.Size() >= whole {
		return -1, ""
	}
	return info.Size(), fmt.Sprintf("it is cut off there, of %d bytes", whole)
}

var pageInReport = regexp.MustCompile(`(?i)\bpage:? (\d+)`)

// loadTree rebuilds the ledger's tree from the stored hashes and holds it
// against the last checkpoint, so that nothing is ever signed on top of a
// ledger that does not fit. It reads at most 64 records.
func loadTree(ctx context.Context, conn *sql.Conn, file string, key note.Verifier) (*ledger.Tree, error) {
	damaged := func(what string, args ...any) error {
		return &DamagedError{File: file, Offset: -1, What: fmt.Sprintf("ledger: "+what, args...)}
	}
	var size int64
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(seq) + 1, 0) FROM record`).Scan(&size); err != nil {
		return nil, err
	}
	var signed []byte
	err := conn.QueryRowContext(ctx, `SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1`).Scan(&signed)
	if errors.Is(err, sql.ErrNoRows) && size == 0 {
		return &ledger.Tree{}, nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil, damaged("%d records without a checkpoint", size)
	}
	if err != nil {
		return nil, err
	}
	c, err := ledger.ParseCheckpoint(signed, key)
	if err != nil {
		return nil, damaged("last %v", err)
	}
	if c.Size != size {
		return nil, damaged("the last checkpoint is over %d records, but %d are stored", c.Size, size)
	}
	tree, err := ledger.Restore(size, func(seq int64) ([]ledger.Hash, error) {
		var hashes []byte
		err := conn.QueryRowContext(ctx, `SELECT hashes FROM record WHERE seq = ?`, seq).Scan(&hashes)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, damaged("record %d is missing", seq)
		}
		return splitHashes(hashes), err
	})
	if err != nil {
		return nil, err
	}
	if tree.Root() != c.Root {
		return nil, damaged("the stored hashes do not give the root of the last checkpoint")
	}
	return tree, nil
}
