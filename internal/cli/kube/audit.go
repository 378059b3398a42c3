package kube

import (
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/kube/audit"
)

func newAuditPolicy(env *terminal.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "audit-policy",
		Short: "Print the audit policy that Sallyport needs of an API server",
		Long: `Print a policy for kube-apiserver --audit-policy-file. It records every way into
a container, and nothing else; its comments say why each rule is there.`,
		Args:    cobra.NoArgs,
		Example: "  sallyport kube audit-policy > /etc/kubernetes/audit-policy.yaml",
		RunE: func(*cobra.Command, []string) error {
			_, err := env.Stdout.Write(audit.MinimalPolicy)
			return err
		},
	}
}

func newAuditWebhook(env *terminal.Env) *cobra.Command {
	var state, server string
	cmd := &cobra.Command{
		Use:   "audit-webhook",
		Short: "Print the kubeconfig with which an API server sends its audit events here",
		Long: `Print a kubeconfig for kube-apiserver --audit-webhook-config-file. It names the
address at which "sallyport up --audit-webhook" listens and holds a certificate
for each side; they are made on first use and kept in the state directory. The
output holds a private key.

For certificates of your own set audit.cert, audit.key and audit.client_ca or
audit.token_file in the configuration, and write the kubeconfig yourself.`,
		Args:    cobra.NoArgs,
		Example: "  sudo sallyport kube audit-webhook --server 10.0.0.5:9478 > audit-webhook.kubeconfig\n  sudo sallyport up --audit-webhook 10.0.0.5:9478",
		RunE: func(*cobra.Command, []string) error {
			host, port, err := net.SplitHostPort(server)
			if err != nil || host == "" || port == "" {
				return exit.Fail(exit.Usage, "name where the API server reaches this host: --server 10.0.0.5:9478", "--server %q: want host:port", server)
			}
			id, err := audit.EnsureIdentity(filepath.Join(state, statedir.AuditIdentity), audit.OwnNames(server))
			if err != nil {
				return err
			}
			if err := id.Covers(host); err != nil {
				return exit.Fail(exit.Usage, "remove "+filepath.Join(state, statedir.AuditIdentity)+" to have new certificates made, and give the API server the new kubeconfig", "%w", err)
			}
			out, err := id.Kubeconfig(server)
			if err == nil {
				_, err = env.Stdout.Write(out)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&state, "state", statedir.Default(env), "state directory `DIR`")
	cmd.Flags().StringVar(&server, "server", "", "where the API server reaches this host: `ADDR`, host:port")
	return cmd
}
