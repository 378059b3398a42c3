// Package filelock locks a file against other processes. The kernel takes the
// lock back when the process ends in whatever way.
package filelock
