package store

import (
	"context"
	"database/sql"
	"time"
)

// Newest returns the time of the latest kept observation, and false when none
// is kept.
func (r *Reader) Newest(ctx context.Context) (time.Time, bool, error) {
	var ns sql.NullInt64
	err := r.db.QueryRowContext(ctx, `SELECT max(latest) FROM chunk`).Scan(&ns)
	return time.Unix(0, ns.Int64).UTC(), ns.Valid, explain(r.file, err)
}
