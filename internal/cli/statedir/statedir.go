// Package statedir knows where state is kept, and what is where in a state directory.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store"
)

// What is where in a state directory, besides the store and the recordings.
const (
	Address       = "address"        // of the HTTP server of the up that runs on it
	Guards        = "guards.sock"    // where guards of this host tell what passes them
	Spool         = "spool"          // what a node has for its collector
	Nodes         = "nodes"          // what a collector knows of its nodes
	Admission     = "admission"      // certificates of the admission webhook
	AuditIdentity = "audit-webhook"  // certificates for both sides of the audit webhook
	AuditBookmark = "audit.bookmark" // how far the audit log is read
	AuditCanary   = "audit.canary"   // the key of the canary in the audit log
	AuditDrops    = "audit.drops"    // what the API server said last of events that it dropped
)

// Default returns where state is kept when nothing else is said:
// /var/lib/sallyport for root, the user's own state directory otherwise.
func Default(env *terminal.Env) string {
	if os.Geteuid() == 0 {
		return "/var/lib/sallyport"
	}
	if dir := env.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sallyport")
	}
	home := env.Getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	return filepath.Join(home, ".local", "state", "sallyport")
}

// Flag returns the flag that a reader needs to find a state directory.
func Flag(env *terminal.Env, state string) string {
	if state == Default(env) {
		return ""
	}
	return " --state " + printable.Command([]string{state})
}

// Store opens a state directory for writing.
func Store(dir string) (*store.Store, error) {
	st, err := store.Open(dir, store.Options{})
	if errors.Is(err, fs.ErrPermission) {
		return nil, exit.Fail(exit.Usage, "name a directory of your own with --state", "open store: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return st, nil
}

// Reader opens a state directory for reading and says what to do when there
// is nothing to read.
func Reader(dir string) (*store.Reader, error) {
	r, err := store.OpenReadOnly(dir)
	if errors.Is(err, store.ErrNoStore) {
		hint := "start `sallyport up`, or name another directory with --state"
		if OfNode(dir) {
			hint = "ask at the collector: this is the directory of a node, which keeps no sessions"
		}
		return nil, exit.Fail(exit.Usage, hint, "state directory %w", err)
	}
	return r, err
}

// OfNode reports whether a state directory is that of a node, which sends what it sees
// to a collector.
func OfNode(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, Spool))
	return err == nil
}

// NotOne adds what to do when an id does not name one session of a state directory.
func NotOne(env *terminal.Env, state string, err error) error {
	var many *store.ErrAmbiguous
	switch {
	case errors.Is(err, store.ErrNotFound):
		return exit.Fail(exit.Findings, "sallyport sessions"+Flag(env, state), "%w", err)
	case errors.As(err, &many):
		return exit.Fail(exit.Usage, "give more of the id", "%w", err)
	}
	return err
}

// Size returns the size of the files in the state directory.
func Size(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}

// File is a small file that is replaced whole.
type File string

// Load implements audit.Keeper.
func (f File) Load() ([]byte, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Save implements audit.Keeper.
func (f File) Save(b []byte) error {
	next := string(f) + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, string(f))
}
