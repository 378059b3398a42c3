// Package complete offers what a shell may complete: values of flags, and ids of what is
// kept.
package complete

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store"
)

// flags are the flags that mean the same in every command that has them, and take one
// of few words.
func flags() map[string][]string {
	return map[string][]string{
		"at":              {"lsm", "socket", "address"},
		"channel":         texts(field.Channels()),
		"client-requests": {"auto", "always", "off"},
		"export-from":     {"now", "beginning"},
		"export-records":  {"all", "findings"},
		"kind":            texts(field.Kinds()),
		"recording-input": {"none", "echoed"},
		"recording-mode":  {"strict", "lenient"},
		"severity":        {"info", "low", "medium", "high", "critical"},
		"stream":          {"stdout", "stderr", "stdin"},
	}
}

func texts[S ~string](words []S) (out []string) {
	for _, w := range words {
		out = append(out, string(w))
	}
	return out
}

// Flags has the values of flags completed, in a command and all below it, where that
// does not do so itself.
func Flags(cmd *cobra.Command) {
	known := flags()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if words := known[f.Name]; words != nil {
			Words(cmd, f.Name, words...)
		}
		if f.Name == "state" {
			_ = cmd.MarkFlagDirname(f.Name) // fails for no flag only
		}
	})
	for _, sub := range cmd.Commands() {
		Flags(sub)
	}
}

// Words has the value of one flag completed.
func Words(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // fails for no flag only
}

// latest is how many sessions are offered: more than anybody reads.
const latest = 50

// Sessions offers the sessions in a state directory that started last, the last one
// first.
func Sessions(state *string) cobra.CompletionFunc {
	return offer(state, func(ctx context.Context, r *store.Reader) (out []cobra.Completion) {
		for s, err := range r.Sessions(ctx, store.Query{Limit: latest}) {
			if err == nil {
				what := string(s.Kind) + " in " + view.Container(&s) + ": " + view.Command(&s)
				out = append(out, cobra.CompletionWithDesc(view.ShortID(s.ID), printable.Cut(what, 80)))
			}
		}
		return out
	})
}

// Recordings offers the recordings in a state directory, the last one first.
func Recordings(state *string) cobra.CompletionFunc {
	return offer(state, func(ctx context.Context, r *store.Reader) (out []cobra.Completion) {
		all, _ := statedir.Recordings(ctx, r)
		slices.SortFunc(all, func(a, b session.Recording) int { return a.Started.Compare(b.Started) })
		for _, rec := range all {
			what := rec.Started.In(time.Local).Format(view.TimeInTable) + ", " + string(rec.State)
			out = append(out, cobra.CompletionWithDesc(view.ShortID(session.ID(rec.ID)), what))
		}
		return out
	})
}

// offer completes the one argument of a command by what is in a state directory, the
// last one first. There is nobody to tell of an error.
func offer(state *string, list func(context.Context, *store.Reader) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		only := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if len(args) > 0 {
			return nil, only
		}
		r, err := store.OpenReadOnly(*state)
		if err != nil {
			return nil, only
		}
		defer r.Close()
		out := list(cmd.Context(), r)
		slices.Reverse(out)
		return out, only
	}
}
