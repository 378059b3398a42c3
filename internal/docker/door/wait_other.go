//go:build !linux

package door

import "net"

// reader is patient.
func reader(c net.Conn) func(pass func([]byte) error) error { return patient(c) }

// closed does not know.
func closed(net.Conn) (ends, half bool) { return false, false }
