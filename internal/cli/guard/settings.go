package guard

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/bus/tell"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/guard"
)

// settings is what the command line of `guard docker` says.
type settings struct {
	listen, to, rules string
	enforce, asJSON   bool
	door              listener
	// record is the state directory of recordings, "" for none; recording says how
	// they are made.
	record    string
	recording config.Config
	approvals approvalConfig
	// tell is the state directory of the sallyport up to tell, "off" for none.
	tell string
	kind place
	// atRuntime is where the door at the runtime is besides, "" for nowhere.
	atRuntime   string
	runtimeDoor listener
}

// place is where a guard stands.
type place string

// The kinds of guard, as the commands are called.
const (
	atSocket     place = "docker"
	atPlugin     place = "docker-authz" // no stream passes, and who asks may be unknown
	atTheRuntime place = "runtime"      // the same
)

// records reports whether streams pass, so that they can be recorded.
func (k place) records() bool { return k == atSocket }

// flags adds the flags that every guard has.
func (c *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&c.rules, "rules", "", "decide by the rules in `PATH`, a file or directory (see sallyport rules)")
	f.BoolVar(&c.enforce, "enforce", false, "stop what is not allowed, instead of only saying so")
	f.BoolVar(&c.asJSON, "json", false, "print each decision as one JSON object")
	c.approvals.flags(f)
}

// tellFlag adds the flag of guards that tell a sallyport up.
func (c *settings) tellFlag(f *pflag.FlagSet, env *terminal.Env) {
	f.StringVar(&c.tell, "tell", statedir.Default(env), "tell the sallyport up that keeps `DIR` who asked for what, and what was decided; off for nobody")
}

// telling returns what tells the sallyport up of this host; nil for none.
func (c *settings) telling(log *slog.Logger) *tell.Teller {
	if c.tell == "off" {
		return nil
	}
	return tell.NewTeller(filepath.Join(c.tell, statedir.Guards), log)
}

// load loads the rules. A guard that enforces does not take those that it would
// only keep in part.
func (c *settings) load() (*policy.Set, error) {
	set, err := ruleset.Load([]string{c.rules})
	if err != nil {
		return nil, err
	}
	if ids := having(set.Rules(), effect.Record); c.enforce && c.record == "" && len(ids) > 0 {
		hint := "name a state directory for recordings with --record DIR, or take the effect record out of them"
		if !c.kind.records() {
			hint = "take the effect record out of them; sallyport guard docker records"
		}
		return nil, exit.Fail(exit.Usage, hint, "%s: nothing can be recorded", strings.Join(ids, ", "))
	}
	return set, nil
}

// mode says what the guard does with what is not allowed, and what it makes less of
// than rules ask.
func (c *settings) mode(second *approving, rules []policy.Rule) string {
	said := "OBSERVING ONLY: nothing is stopped, whatever the rules say. Stop it with --enforce.\n"
	if c.enforce {
		said = "Enforcing: what is not allowed is stopped.\n"
		if ids := having(rules, effect.Approve); len(ids) > 0 && second.address == "off" {
			said += fmt.Sprintf("NOBODY CAN APPROVE with --control off: what %s asks approval for is denied.\n", strings.Join(ids, ", "))
		}
		said += second.text()
	}
	if ids := having(rules, effect.Record); !c.kind.records() && len(ids) > 0 {
		said += fmt.Sprintf("NOTHING IS RECORDED: what %s asks to record goes on without.\n", strings.Join(ids, ", "))
	} else if c.record == "" && len(ids) > 0 {
		said += fmt.Sprintf("NOTHING IS RECORDED without --record DIR: what %s asks to record goes on without.\n", strings.Join(ids, ", "))
	}
	return said
}

// having returns the rules that have an effect.
func having(rules []policy.Rule, e effect.Effect) (ids []string) {
	for _, r := range rules {
		if slices.Contains(r.Effects, e) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// reloading loads the rules again on SIGHUP. Broken ones change nothing.
func (c *settings) reloading(ctx context.Context, judge *guard.Guard, log *slog.Logger) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		set, err := c.load()
		if err != nil {
			log.Error("rules could not be loaded again; the ones before stay at work", slog.Any("error", err))
			continue
		}
		judge.Use(set)
		log.Warn("rules loaded again", slog.Int("rules", len(set.Rules())))
	}
}

// daemonAt reads the address of a daemon.
func daemonAt(s string) (network, address string, err error) {
	if strings.HasPrefix(s, "/") {
		s = "unix://" + s
	}
	network, address, ok := strings.Cut(s, "://")
	if !ok || address == "" || network != "unix" && network != "tcp" {
		return "", "", exit.Fail(exit.Usage, "unix:///path or tcp://host:port", "address %q", s)
	}
	return network, address, nil
}

// realPath returns what says where paths of the daemon's host lead: nothing when
// that need not be this one.
func realPath(network string) func(string) string {
	if network != "unix" {
		return nil
	}
	return func(path string) string {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return ""
		}
		return real
	}
}
