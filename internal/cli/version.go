package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/terminal"
)

func newVersion(env *terminal.Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Args:    cobra.NoArgs,
		Example: "  sallyport version\n  sallyport version --json",
		RunE: func(*cobra.Command, []string) error {
			b := build.This()
			if asJSON {
				return json.NewEncoder(env.Stdout).Encode(b)
			}
			_, err := fmt.Fprintf(env.Stdout, "sallyport %s (%s, %s)\n", b.Version, b.Go, b.Platform)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
