//go:build linux

package docker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/testbed/daemon"
)

// Stop ends the engine and removes all of it: containers, shims, mounts,
// cgroups, files. It works whatever state the engine is in.
func (e *Engine) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e.Thaw()
	e.removeContainers(ctx) // best effort: Clean finds what is left
	e.Halt(ctx)
	if err := daemon.Clean(e.Dir); err != nil {
		return fmt.Errorf("stop docker engine: %w", err)
	}
	return nil
}

func (e *Engine) removeContainers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ids, err := Output(e.CLI(ctx, "ps", "-aq", "--no-trunc"))
	if err != nil || ids == "" {
		return
	}
	Output(e.CLI(ctx, append([]string{"rm", "-f", "-v"}, strings.Fields(ids)...)...))
}
