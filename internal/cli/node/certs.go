// Package node sets up nodes that send to a collector.
package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// New returns sallyport node.
func New(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Set up nodes that send to a collector",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNodeCerts(env))
	return cmd
}

func newNodeCerts(env *terminal.Env) *cobra.Command {
	var collectors, nodes []string
	var dir string
	cmd := &cobra.Command{
		Use:   "certs -o DIR",
		Short: "Make certificates for a collector and its nodes",
		Long: `Make the certificates by which a collector and its nodes know each other: an
authority of their own in DIR, one certificate for the collector, one for each
node. Run it again in the same DIR for more nodes.

This is for trials and small set-ups: the authority's key (ca.key) lies in DIR
in plain text, and whoever has it can be any node. Any other authority does as
well: the collector's certificate must be for server authentication and name the
host that nodes connect to; a node's must be for client authentication, with the
node's name as common name. Under Kubernetes that must be the name of the Node.`,
		Args: cobra.NoArgs,
		Example: `  sallyport node certs -o pki --collector watch.example.org --node worker-1 --node worker-2
  sallyport up --collect :7443 --collect-cert pki/collector.crt --collect-key pki/collector.key --collect-ca pki/ca.crt
  sallyport up --node watch.example.org:7443 --node-cert node-worker-1.crt --node-key node-worker-1.key --collector-ca ca.crt`,
		RunE: func(*cobra.Command, []string) error { return nodeCerts(env, dir, collectors, nodes) },
	}
	f := cmd.Flags()
	f.StringVarP(&dir, "output", "o", "", "keep authority and certificates in `DIR`")
	f.StringSliceVar(&collectors, "collector", nil, "host `NAME` or address of the collector, as nodes write it; may be repeated")
	f.StringSliceVar(&nodes, "node", nil, "`NAME` of a node; may be repeated")
	return cmd
}

func nodeCerts(env *terminal.Env, dir string, collectors, nodes []string) error {
	if dir == "" || len(collectors)+len(nodes) == 0 {
		return exit.Fail(exit.Usage, "sallyport node certs -o DIR --collector NAME --node NAME", "node certs: a directory and a name are needed")
	}
	for _, n := range nodes { // before anything is made
		if err := link.CheckNode(n); err != nil {
			return exit.Fail(exit.Usage, "", "%w", err)
		}
	}
	a, err := link.OpenAuthority(dir)
	if err != nil {
		return err
	}
	issue := func(flag string, make func() (link.Files, error)) error {
		f, err := make()
		if errors.Is(err, fs.ErrExist) {
			return exit.Fail(exit.Usage, "leave out "+flag+", or remove its .crt and .key to have others made", "there is one already: %w", err)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "%s\n%s\n", printable.Text(f.Cert), printable.Text(f.Key))
		return err
	}
	if len(collectors) > 0 {
		if err := issue("--collector", func() (link.Files, error) { return a.Collector(collectors...) }); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := issue("--node "+n, func() (link.Files, error) { return a.Node(n) }); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(env.Stdout, printable.Text(filepath.Join(dir, link.AuthorityCert)))
	return err
}
