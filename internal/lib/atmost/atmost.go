// Package atmost reads files of a size that nobody vouches for.
package atmost

import (
	"io"
	"os"
)

// ReadFile returns the first bytes of a file, at most as many as most says: a caller
// that wants to know whether there are more asks for one more.
func ReadFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
