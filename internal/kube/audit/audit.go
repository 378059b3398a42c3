// Package audit is the witness of the API server's audit log: who asked for what.
package audit
