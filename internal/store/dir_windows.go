package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// ownedByUs accepts any directory: access lists say who may use it.
func ownedByUs(os.FileInfo) error { return nil }

func isNoSpace(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }

func hasSpace(string) bool { return true }
