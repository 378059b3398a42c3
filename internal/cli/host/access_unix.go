//go:build unix

package host

import "golang.org/x/sys/unix"

// canConnect reports whether this process may connect to a unix socket.
func canConnect(path string) bool { return unix.Access(path, unix.W_OK) == nil }
