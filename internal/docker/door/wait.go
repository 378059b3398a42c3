package door

import "net"

// hungUp reports whether the other end of a connection is closed, also when what
// it sent before has not been read yet.
func hungUp(c net.Conn) bool {
	ends, half := closed(c)
	return ends && !half
}

// halfClosed reports whether the other end of a connection sends no more, and
// still listens. Of TCP nobody knows: there it counts as closed.
func halfClosed(c net.Conn) bool {
	ends, half := closed(c)
	return ends && half
}
