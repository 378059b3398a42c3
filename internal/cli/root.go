package cli

import (
	"cmp"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/coverage"
	"github.com/sallyport/sallyport/internal/cli/doctor"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/guard"
	"github.com/sallyport/sallyport/internal/cli/kube"
	"github.com/sallyport/sallyport/internal/cli/node"
	"github.com/sallyport/sallyport/internal/cli/recordings"
	"github.com/sallyport/sallyport/internal/cli/replay"
	"github.com/sallyport/sallyport/internal/cli/rules"
	"github.com/sallyport/sallyport/internal/cli/scan"
	"github.com/sallyport/sallyport/internal/cli/sessions"
	"github.com/sallyport/sallyport/internal/cli/up"
	"github.com/sallyport/sallyport/internal/core/nearest"
)

const rootLong = `Sallyport watches how commands get into containers: who asked, by which
channel, what really ran, and how that is known.

Exit status:
  0  done; nothing to report
  1  done, with findings (verification failed, host degraded), or failed
  2  the command line, the configuration or the host does not allow it
  3  done in part: damaged input, or evidence that could not be read`

// newRoot returns the whole command tree.
func newRoot(c *commandLine) *cobra.Command {
	env := c.Env
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "Who ran which command in which container, and how that is known",
		Long:          rootLong,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil { // cobra asks when the command has begun
				return exit.Fail(exit.Usage, cmd.CommandPath()+" --help", "%w: %s", err, cmd.UseLine())
			}
			c.running = true
			return nil
		},
	}
	if c.called != "" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: c.called}
	}
	root.AddCommand(
		up.New(env),
		guard.New(env),
		guard.NewApprovals(env),
		guard.NewApprove(env),
		guard.NewDeny(env),
		sessions.New(env),
		sessions.NewShow(env),
		sessions.NewTail(env),
		sessions.NewFindings(env),
		recordings.NewPlay(env),
		recordings.New(env),
		replay.NewCapture(env),
		replay.New(env),
		scan.New(env),
		rules.New(env),
		doctor.New(env),
		sessions.NewVerify(env),
		node.New(env),
		kube.New(env),
		coverage.NewChannels(env),
		coverage.NewAttack(env),
		newVersion(env),
	)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Fail(exit.Usage, cmd.CommandPath()+" "+meant(cmd, err), "%w", err)
	})
	for _, cmd := range root.Commands() {
		refuseUnknown(cmd)
	}
	complete.Flags(root)
	root.DisableSuggestions, root.SuggestionsMinimumDistance = true, 2 // unknown makes them
	return root
}

// meant returns the flag that may have been meant by one that does not exist, or
// --help.
func meant(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return "--help"
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return "--" + cmp.Or(nearest.Name(unknown.GetSpecifiedName(), known), "help")
}

// sayUsage has what is wrong with a command's arguments said with how it is used.
func sayUsage(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			return nil
		}
		return exit.Fail(exit.Usage, cmd.CommandPath()+" --help", "%w: %s", err, cmd.UseLine())
	}
}

// refuseUnknown makes a word that is no command of a group a mistake. Otherwise cobra
// prints the help and is content, and a check with a slip in its name passes.
func refuseUnknown(group *cobra.Command) {
	if !group.HasSubCommands() {
		sayUsage(group)
		return
	}
	for _, cmd := range group.Commands() {
		refuseUnknown(cmd)
	}
	if !group.Runnable() {
		group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	group.SuggestionsMinimumDistance = 2
	group.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknown(cmd, args[0])
	}
}

// unknown says that a word is no command of a group, and which one may have been meant.
func unknown(group *cobra.Command, word string) error {
	hint := group.CommandPath() + " --help"
	if near := group.SuggestionsFor(word); len(near) > 0 {
		hint = group.CommandPath() + " " + near[0]
	}
	return exit.Fail(exit.Usage, hint, "unknown command %q for %q", word, group.CommandPath())
}
