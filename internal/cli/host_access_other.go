//go:build !unix

package cli

// canConnect cannot be told here without trying.
func canConnect(string) bool { return true }
