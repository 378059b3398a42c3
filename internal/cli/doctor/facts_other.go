//go:build !linux

package doctor

import "errors"

func spaceIn(string) (writable bool, free uint64) { return true, freeMin }

func clockSynced() (bool, error) { return false, errors.ErrUnsupported }
