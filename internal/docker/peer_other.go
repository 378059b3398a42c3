//go:build !linux

package docker

import "errors"

func peerPID(string) (uint32, error) { return 0, errors.ErrUnsupported }
