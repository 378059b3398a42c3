//go:build linux

// Package release makes a current Docker engine and its clients from their Go
// modules, once, and finds them again in a directory of the user's cache. Debian's
// engine is years older than what most people run.
package release

import (
	"context"
	"io"
	"strings"

	"github.com/sallyport/sallyport/testbed/built"
)

// Plugins is the directory of the docker command line's plugins, in that of the
// programs.
const Plugins = "cli-plugins"

// program is one of the engine's. Version is the variable that is told its module's
// version, if it does not know that by itself.
type program struct {
	built.Program
	version string
}

var programs = []program{
	{built.Program{Name: "dockerd", Package: "github.com/moby/moby/v2/cmd/dockerd", Tags: "exclude_graphdriver_btrfs netgo osusergo"},
		"github.com/moby/moby/v2/dockerversion.Version"},
	{built.Program{Name: "docker", Package: "github.com/docker/cli/cmd/docker", Lang: "go1.26"}, "github.com/docker/cli/cli/version.Version"},
	{built.Program{Name: Plugins + "/docker-compose", Package: "github.com/docker/compose/v5/cmd"}, "github.com/docker/compose/v5/internal.Version"},
	{built.Program{Name: Plugins + "/docker-buildx", Package: "github.com/docker/buildx/cmd/buildx"}, "github.com/docker/buildx/version.Version"},
	{built.Program{Name: "containerd", Package: "github.com/containerd/containerd/v2/cmd/containerd"}, "github.com/containerd/containerd/v2/version.Version"},
	{built.Program{Name: "containerd-shim-runc-v2", Package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"}, "github.com/containerd/containerd/v2/version.Version"},
	{built.Program{Name: "ctr", Package: "github.com/containerd/containerd/v2/cmd/ctr"}, "github.com/containerd/containerd/v2/version.Version"},
	// It enters namespaces in C, before Go begins.
	{built.Program{Name: "runc", Package: "github.com/opencontainers/runc", Tags: "seccomp", Cgo: true}, ""},
}

var engine = built.Release{Name: "engine", Module: "testbed/docker/build", Of: "github.com/moby/moby/v2", Compile: compile}

// Build builds the programs unless they are there, and returns their directory. Two at
// once do it once. Progress, and what the compiler says, go to log.
func Build(ctx context.Context, log io.Writer) (string, error) { return engine.Make(ctx, log) }

func compile(ctx context.Context, b *built.Build) error {
	for i, p := range programs {
		version, err := b.ModuleVersion(ctx, p.Package)
		if err != nil {
			return err
		}
		b.Say("building %s %s (%d of %d)", p.Name, version, i+1, len(programs))
		if p.version != "" {
			version = strings.TrimSuffix(strings.TrimPrefix(version, "v"), "+incompatible")
			p.Set = []string{p.version + "=" + version}
		}
		if err := b.Go(ctx, p.Program); err != nil {
			return err
		}
	}
	return nil
}
