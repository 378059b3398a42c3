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
	// Nothing of the engine is worth an orderly end, for which dockerd waits a
	// second and longer.
	if d := e.daemon(); d != nil {
		d.Kill()
	}
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
