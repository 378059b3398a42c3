package scan

import (
	"bufio"
	"context"
	"io"
	"os"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan"
)

// read reads one source.
func (g *gatherer) read(ctx context.Context, from string) error {
	switch from {
	case fromCluster:
		return g.cluster(ctx)
	case fromHost:
		g.host(ctx)
		return nil
	}
	// A pipe may have nothing to say for ever, and no signal ends such a read.
	done := make(chan error, 1)
	go func() { done <- g.path(from) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return exit.Fail(exit.Usage, "", "--from %s: interrupted", printable.Text(from))
	}
}

// path reads a file, a directory or standard input.
func (g *gatherer) path(from string) error {
	if from == fromStdin {
		return g.file("standard input", g.env.Stdin)
	}
	info, err := os.Stat(from)
	if err != nil {
		return exit.Fail(exit.Usage, "", "--from: %w", err)
	}
	if info.IsDir() {
		return g.manifests(from, func() error { return g.loader.ReadPath(from) })
	}
	f, err := os.Open(from)
	if err != nil {
		return exit.Fail(exit.Usage, "", "--from: %w", err)
	}
	defer f.Close()
	return g.file(from, f)
}

// manifests reads manifests. That nothing is in them is said: what should have made
// them may have failed, and then it is no pass that nothing was found.
func (g *gatherer) manifests(name string, read func() error) error {
	before := g.loader.Documents()
	if err := read(); err != nil {
		return exit.Fail(exit.Usage, "", "--from: %w", err)
	}
	if g.loader.Documents() == before {
		g.out.Skipped = append(g.out.Skipped, inventory.Skipped{Origin: inventory.Origin{Source: name}, Why: "it is empty: no object is in it"})
	}
	return nil
}

func (g *gatherer) cluster(ctx context.Context) error {
	client, name, err := api.ConnectAs(g.sources.kubeconfig, g.sources.context)
	if err != nil {
		return exit.Fail(exit.Usage, "--kubeconfig FILE, or --from FILE for manifests or a snapshot", "%w", err)
	}
	if err := g.loader.ReadServer(ctx, name, client); err != nil {
		return exit.Fail(exit.Usage, "", "read cluster %s: %w", printable.Text(name), err)
	}
	return nil
}

// file reads a snapshot or manifests, whichever it begins like.
func (g *gatherer) file(name string, f io.Reader) error {
	in := bufio.NewReader(f)
	if beginning, _ := in.Peek(4); !scan.Is(beginning) {
		return g.manifests(name, func() error { return g.loader.Read(name, in) })
	}
	i, _, err := scan.Read(in)
	if err == nil && i.Cluster != nil {
		err = g.loader.Include(i.Cluster)
	}
	if err != nil {
		return exit.Fail(exit.Usage, "", "--from %s: %w", printable.Text(name), err)
	}
	g.out.Hosts = append(g.out.Hosts, i.Hosts...)
	g.out.Unread = append(g.out.Unread, i.Unread...)
	g.out.Skipped = append(g.out.Skipped, i.Skipped...)
	if i.Time.After(g.out.Time) {
		g.out.Time = i.Time
	}
	return nil
}
