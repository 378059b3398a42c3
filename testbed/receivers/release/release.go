//go:build linux

// Package release makes an OpenTelemetry Collector from its Go modules, once, and
// finds it again in a directory of the user's cache.
package release

import (
	"context"
	"io"

	"github.com/sallyport/sallyport/testbed/built"
)

// Collector is the program's name.
const Collector = "otelcol"

var receivers = built.Release{Name: "receivers", Module: "testbed/receivers/build", Of: "go.opentelemetry.io/collector/otelcol", Compile: compile}

// Find returns the program's directory, or built.ErrNot.
func Find(ctx context.Context) (string, error) { return receivers.Find(ctx) }

// Build builds the program unless it is there, and returns its directory. Two at once
// do it once. Progress, and what the compiler says, go to log.
func Build(ctx context.Context, log io.Writer) (string, error) { return receivers.Make(ctx, log) }

func compile(ctx context.Context, b *built.Build) error {
	version, err := b.ModuleVersion(ctx, "go.opentelemetry.io/collector/otelcol")
	if err != nil {
		return err
	}
	b.Say("building OpenTelemetry Collector %s", version)
	return b.Go(ctx, built.Program{Name: Collector, Package: "."})
}
