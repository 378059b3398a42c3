package docker

import "errors"

// Listeners finds the process that listens on a unix socket and the TCP
// addresses ("127.0.0.1:2376", "[::]:2376") that the same process listens on.
func Listeners(socketPath string) (pid uint32, tcp []string, err error) {
	return 0, nil, errors.ErrUnsupported
}
