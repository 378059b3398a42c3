package cli

import (
	"github.com/spf13/cobra"
)

// newKube returns the commands that connect a Kubernetes cluster.
func newKube(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kube",
		Short: "Connect a Kubernetes cluster",
		Long:  "Print what an API server needs so that Sallyport hears of what is asked of it.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditPolicy(env), newAuditWebhook(env))
	return cmd
}
