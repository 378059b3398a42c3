package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/rules"
)

func newRulesCopy(env *terminal.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "copy DIR",
		Short: "Write the shipped rule pack to a new directory, to tune it",
		Long: `Write the shipped rule pack and its tests to a directory that does not exist yet.
What there is to tune is in lists.yaml; docs/guide/rule-pack.md explains it.`,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport rules copy /etc/sallyport/rules
  sallyport rules lint /etc/sallyport/rules
  sallyport up --rules /etc/sallyport/rules`,
		RunE: func(_ *cobra.Command, args []string) error { return rulesCopy(env, args[0]) },
	}
}

func rulesCopy(env *terminal.Env, dir string) error {
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		return exit.Fail(exit.Usage, "name a directory that does not exist yet: rules that you changed are not written over", "rules copy: %s exists", dir)
	} else if err != nil {
		return fmt.Errorf("rules copy: %w", err)
	}
	written := 0
	err := rules.Each(func(name string, data []byte) error {
		written++
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err != nil {
		return fmt.Errorf("rules copy: %w", err)
	}
	fmt.Fprintf(env.Stderr, "%s in %s; lists.yaml is what you tune.\n", wording.Plural(written, "file"), dir)
	return nil
}
