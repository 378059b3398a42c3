//go:build !linux

package main

import "context"

// play is never reached: no other system has the capability docker.
func play(ctx context.Context, o options) error { return replay(ctx, o) }
