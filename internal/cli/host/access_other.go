//go:build !unix

package host

// canConnect cannot be told here without trying.
func canConnect(string) bool { return true }
