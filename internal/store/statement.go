package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// statement is a prepared statement of the writer that returns no rows. It is
// executed at the driver: the writer's connection belongs to one Store, which
// locks it, and what database/sql does for connections that are shared takes a
// third of an insert's time.
type statement struct {
	stmt driver.Stmt
	exec driver.StmtExecContext // the same
	args []driver.NamedValue
}

func prepareStatement(ctx context.Context, conn *sql.Conn, query string) (*statement, error) {
	s := &statement{}
	err := conn.Raw(func(dc any) (err error) {
		c, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the driver prepares nothing")
		}
		if s.stmt, err = c.PrepareContext(ctx, query); err != nil {
			return err
		}
		if s.exec, ok = s.stmt.(driver.StmtExecContext); !ok {
			return fmt.Errorf("the driver executes nothing: %T", s.stmt)
		}
		return nil
	})
	return s, err
}

// Exec executes s and returns how many rows it changed. Values are of the
// driver's types.
func (s *statement) Exec(values ...driver.Value) (int64, error) {
	s.args = s.args[:0]
	for i, v := range values {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	res, err := s.exec.ExecContext(context.Background(), s.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// close releases s; its connection must still be open.
func (s *statement) close() {
	if s != nil && s.stmt != nil {
		_ = s.stmt.Close()
	}
}
