// Package durable writes small files that are whole or not there, whatever ends
// the process or the power.
package durable

import (
	"errors"
	"os"
	"runtime"
)

// Replace writes a file in one step, synced: name holds the old content or the
// new. What is written aside, name.new, is the caller's alone.
func Replace(name string, content []byte) error {
	aside := name + ".new"
	f, err := os.OpenFile(aside, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(aside)
		return err
	}
	return os.Rename(aside, name)
}

// SyncDir makes the names in a directory durable. Windows has no such thing.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
