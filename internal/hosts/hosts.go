// Package hosts reads of a machine who its users are, what sudo lets them run, and
// which sockets of container runtimes they could reach.
//
// It reads the machine's own files and /proc, and asks nobody: what a directory
// server says of users is reported as not read. Parsers are by themselves and know
// no machine; Read is for Linux.
package hosts
