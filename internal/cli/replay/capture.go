package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/host"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store/capture"
	"github.com/sallyport/sallyport/internal/watch"
)

// NewCapture returns sallyport capture.
func NewCapture(env *terminal.Env) *cobra.Command {
	var file, from string
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "capture -o FILE",
		Short: "Keep raw observations in a file, for replay",
		Long: `Watch this host like "sallyport up", but only write what the witnesses report
to a file, until Ctrl-C or for a while. "sallyport replay" runs the engine over
it, on any machine. The file holds command lines and user names of this host.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport capture -o today.capture --for 30s
  sallyport replay today.capture`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return exit.Fail(exit.Usage, "sallyport capture -o FILE", "capture: no file is named")
			}
			conf, err := config.Load(env, from, cmd.Flags())
			if err != nil {
				return err
			}
			return runCapture(cmd.Context(), env, conf, file, length)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "output", "o", "", "write to `FILE`")
	f.DurationVar(&length, "for", 0, "stop after `TIME` (30s, 5m); 0: at Ctrl-C")
	f.StringVar(&from, "config", "", "read the configuration from `FILE`")
	config.WatchFlags(f)
	return cmd
}

func runCapture(ctx context.Context, env *terminal.Env, conf config.Config, file string, length time.Duration) error {
	log := env.Logger(slog.LevelWarn)
	h := host.Find(env, conf, log)
	missing, all := h.Missing()
	for _, line := range missing {
		fmt.Fprintln(env.Stderr, "Missing: "+line)
	}
	if all {
		return exit.Fail(exit.Usage, "sallyport doctor", "nothing can be watched here")
	}
	audits, err := host.Audit(conf, log, false)
	if err != nil {
		return err
	}
	facts := new(watch.LocalHost).Facts()
	w, err := capture.Create(file, capture.Header{
		Started: facts.Time, Hostname: facts.Hostname, BootID: facts.BootID, Kernel: facts.Kernel, Sallyport: build.This().Version,
	})
	if err != nil {
		return exit.Fail(exit.Usage, "another name with -o", "capture: %w", err)
	}
	if length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	fmt.Fprintf(env.Stderr, "Capturing to %s. Stop with Ctrl-C.\n", printable.Text(file))
	n := 0
	err = watch.Capture(ctx, watch.Options{Witnesses: h.Witnesses(audits), Logger: log}, func(o event.Observation) error {
		n++
		return w.Write(o)
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	fmt.Fprintf(env.Stderr, "%d observations. Look at them with: sallyport replay %s\n", n, printable.Command([]string{file}))
	return nil
}
