// Package rawconn reads and writes connections over unix sockets without telling the
// Go scheduler of each system call.
//
// The scheduler is told because a call may take long: its watcher (sysmon) then
// gives the CPU to others. The watcher sleeps while a program waits, and each call
// that is told wakes it. Where a program only passes small things on, and so waits
// most of the time, that is a thread more to run for each of them, and as much CPU
// time again. To read or write what does not block takes no longer than to copy the
// bytes, which nobody is told of either.
package rawconn

import "net"

// Listener is a listener whose connections are read and written so.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Of(c), nil
}
