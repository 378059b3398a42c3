package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/internal/lib/durable"
	"github.com/sallyport/sallyport/internal/lib/filelock"
	"github.com/sallyport/sallyport/internal/store/ledger"
)

// Names in the state directory beside the database.
const (
	lockName       = "lock"
	privateKeyName = "ledger.key"
	publicKeyName  = "ledger.pub"
)

// prepareDir makes the state directory, private to its owner. It tightens the
// mode of a directory that is empty or holds a store, and refuses any other
// that is not private: it might be somebody's.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("state directory %s: not a directory", dir)
	}
	if err := ownedByUs(info); err != nil {
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, databaseName)); err != nil && len(entries) > 0 {
		return fmt.Errorf("state directory %s: holds other files and is open to others (mode %#o); give a directory of its own",
			dir, info.Mode().Perm())
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// dirLock is the right to write to a state directory. The kernel takes it back
// when the process ends in whatever way.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	ok, err := filelock.Try(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	if !ok {
		defer f.Close()
		return nil, &LockedError{Dir: dir, PID: readPID(f)}
	}
	// The pid is for the message only; without space for it the lock still holds.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	return &dirLock{f}, nil
}

func readPID(f *os.File) int {
	var buf [20]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	return pid
}

// release frees the lock; the file stays, since removing it would race with
// somebody who just opened it.
func (l *dirLock) release() error { return l.file.Close() }

// loadOrMakeKey returns the ledger's signing key. It makes one only where there
// is no database yet: a store whose key is gone cannot be continued unnoticed.
func loadOrMakeKey(dir string) (note.Signer, error) {
	file := filepath.Join(dir, privateKeyName)
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if text, err = makeKey(dir); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ledger key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, &DamagedError{File: file, Offset: -1, What: "it holds no signing key"}
	}
	return signer, nil
}

func makeKey(dir string) ([]byte, error) {
	if info, err := os.Stat(filepath.Join(dir, databaseName)); err == nil && info.Size() > 0 {
		return nil, &DamagedError{File: filepath.Join(dir, privateKeyName), Offset: -1, What: "the ledger's key is missing"}
	}
	private, public, err := ledger.GenerateKey()
	if err != nil {
		return nil, err
	}
	// The public key first: a private key on disk then always has its partner.
	if err := durable.Replace(filepath.Join(dir, publicKeyName), []byte(public+"\n")); err != nil {
		return nil, fmt.Errorf("ledger key: %w", err)
	}
	if err := durable.Replace(filepath.Join(dir, privateKeyName), []byte(private+"\n")); err != nil {
		return nil, fmt.Errorf("ledger key: %w", err)
	}
	return []byte(private), nil
}

func loadVerifier(dir string) (note.Verifier, string, error) {
	file := filepath.Join(dir, publicKeyName)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, "", fmt.Errorf("ledger key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, "", &DamagedError{File: file, Offset: -1, What: "it holds no public key"}
	}
	return verifier, key, nil
}
