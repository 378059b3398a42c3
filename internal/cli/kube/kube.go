// Package kube prints what a cluster needs so that Sallyport sees its commands.
package kube

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/api"
)

// New returns the commands that connect a Kubernetes cluster.
func New(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kube",
		Short: "Print what a cluster needs so that Sallyport sees its commands",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditPolicy(env), newAuditWebhook(env), newWebhookConfig(env), newRBAC(env))
	return cmd
}

func newRBAC(env *terminal.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "rbac",
		Short:   "Print the role with all that Sallyport asks of the API server: reading, and no secrets",
		Args:    cobra.NoArgs,
		Example: "  sallyport kube rbac | kubectl apply -f -",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(env.Stdout, api.RBAC)
			return err
		},
	}
}

func newWebhookConfig(env *terminal.Env) *cobra.Command {
	var target, service, state, ca string
	cmd := &cobra.Command{
		Use:   "webhook-config",
		Short: "Print the configuration by which the API server asks the admission webhook",
		Long: `Print a ValidatingWebhookConfiguration. With it the API server tells the webhook
of each exec, attach, port-forward, proxy, debug container, pod and workload
before it is carried out. The webhook refuses nothing, and the API server goes
on without it when it does not answer.

The webhook itself is served by sallyport up --admission ADDR, which reads its
certificate when it starts: restart it when this is printed for a new address.`,
		Args: cobra.NoArgs,
		Example: `  sallyport kube webhook-config --url https://192.0.2.7:9443 | kubectl apply -f -
  sallyport kube webhook-config --service sallyport/sallyport | kubectl apply -f -`,
		RunE: func(*cobra.Command, []string) error {
			if (target == "") == (service == "") {
				return exit.Fail(exit.Usage, "sallyport kube webhook-config --url https://HOST:PORT", "webhook-config: name either a URL or a service")
			}
			bundle, err := webhookAuthority(state, ca, target+service)
			if err != nil {
				return err
			}
			manifest, err := admission.Manifest(target+service, bundle)
			if err != nil {
				return exit.Fail(exit.Usage, "", "webhook-config: %w", err)
			}
			_, err = env.Stdout.Write(manifest)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&target, "url", "", "the webhook's `URL`, https://HOST:PORT")
	f.StringVar(&service, "service", "", "the webhook's service, `NAMESPACE/NAME[:PORT]`")
	f.StringVar(&state, "state", statedir.Default(env), "state `DIR` of the sallyport up that serves the webhook")
	f.StringVar(&ca, "ca", "", "`FILE` with the authority of the webhook's certificate (default: Sallyport's own)")
	return cmd
}

// webhookAuthority returns the authority that the API server must trust: one
// from a file, or Sallyport's own, which is made when there is none.
func webhookAuthority(state, file, target string) ([]byte, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "", "webhook-config: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(b) {
			return nil, exit.Fail(exit.Usage, "", "webhook-config: --ca %s: no certificate in PEM", file)
		}
		return b, nil
	}
	_, ca, err := admission.Certificate(filepath.Join(state, statedir.Admission), targetNames(target))
	if errors.Is(err, os.ErrPermission) {
		return nil, exit.Fail(exit.Usage, "run as the user of sallyport up, or name another --state", "webhook-config: %w", err)
	}
	return ca, err
}

// targetNames returns the names that the certificate of a webhook needs.
func targetNames(target string) []string {
	if u, err := url.Parse(target); err == nil && u.Scheme == "https" && u.Hostname() != "" {
		return []string{u.Hostname()}
	}
	name, _, _ := strings.Cut(target, ":")
	if namespace, name, ok := strings.Cut(name, "/"); ok && namespace != "" && name != "" {
		return []string{name + "." + namespace + ".svc"}
	}
	return nil
}
