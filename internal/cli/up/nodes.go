package up

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/bus/spool"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/host"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/watch"
)

// upNode watches this host for a collector.
func upNode(ctx context.Context, env *terminal.Env, conf config.Config, h *host.Host, log *slog.Logger) error {
	files := link.Files{Cert: conf.NodeCert, Key: conf.NodeKey, CA: conf.NodeCA}
	secure, err := files.Client()
	if err != nil {
		return exit.Fail(exit.Usage, "", "node: %w", err)
	}
	leaf, err := x509.ParseCertificate(secure.Certificates[0].Certificate[0])
	if err != nil {
		return exit.Fail(exit.Usage, "", "node: %w", err)
	}
	name, err := link.NameOf(leaf)
	if err != nil {
		return exit.Fail(exit.Usage, "", "node: %s: %w", conf.NodeCert, err)
	}
	if conf.NodeName != "" && conf.NodeName != name {
		return exit.Fail(exit.Usage, "give this node its own certificate", "node: the certificate is that of %q, not of %q", name, conf.NodeName)
	}
	queue, err := spool.Open(spool.Options{Dir: filepath.Join(conf.State, statedir.Spool), Bytes: conf.NodeSpool, Logger: log})
	if err != nil {
		return exit.Fail(exit.Usage, "name a directory of your own with --state", "%w", err)
	}
	node := link.NewNode(link.NodeOptions{
		Address: conf.NodeCollector, TLS: secure, Spool: queue, Boot: new(watch.LocalHost).Facts().BootID, Logger: log,
	})
	engine := watch.New(watch.Options{
		Witnesses: h.Witnesses(nil, host.Guards(conf.State, log), host.Gate(conf.Gate)), Logger: log, Sink: node, Sensor: h.SensorStatus, Counters: h.Counters(nil),
		Link: func() watch.Link { return linkStatus(conf, node, queue) },
	})
	err = runNode(ctx, env, conf, h, engine, node, queue, name)
	return errors.Join(err, queue.Close())
}

// lastWords is how long a stopping node goes on sending what it saw last.
const lastWords = 2 * time.Second

func runNode(ctx context.Context, env *terminal.Env, conf config.Config, h *host.Host, engine *watch.Engine, node *link.Node, queue *spool.Spool, name string) error {
	linking, unlink := context.WithCancel(context.WithoutCancel(ctx))
	defer unlink()
	group, ctx := errgroup.WithContext(ctx)
	address, err := serveStatus(ctx, group, engine, conf)
	if err != nil {
		return err
	}
	banner(env, h, conf, nil, address)
	fmt.Fprintf(env.Stderr, "Node %s: observations go to %s.\n", printable.Text(name), printable.Text(conf.NodeCollector))
	group.Go(func() error { return node.Run(linking) })
	group.Go(func() error {
		defer unlink()
		err := engine.Run(ctx)
		for deadline := time.Now().Add(lastWords); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if s := node.State(); !s.Connected || s.Sent >= queue.Last() {
				break
			}
		}
		return err
	})
	err = group.Wait()
	s := queue.Stats()
	fmt.Fprintf(env.Stderr, "Stopped after %s: %d observations, %d of them wait for the collector, %d lost.\n",
		wording.Duration(time.Since(engine.Status().Started)), s.Put, s.Put-s.Acknowledged, s.Lost)
	return err
}

func linkStatus(conf config.Config, node *link.Node, queue *spool.Spool) watch.Link {
	l, s := node.State(), queue.Stats()
	out := watch.Link{
		Collector: conf.NodeCollector, Node: l.Name, Connected: l.Connected, Since: l.Since, Connects: l.Connects,
		SpoolBytes: s.Bytes, SpoolLimit: s.Limit, Waiting: s.Put - s.Acknowledged, Put: s.Put, Acknowledged: s.Acknowledged, Lost: s.Lost,
	}
	if l.Ahead != nil {
		ahead := int64(*l.Ahead)
		out.AheadNS = &ahead
	}
	if l.Err != nil {
		out.Reason = l.Err.Error()
	}
	if s.Err != nil {
		out.SpoolError = s.Err.Error()
	}
	return out
}

// newCollector returns the collector that the configuration asks for, nil when
// it asks for none.
func newCollector(conf config.Config, log *slog.Logger) (*link.Collector, error) {
	if conf.CollectListen == "" {
		return nil, nil
	}
	secure, err := link.Files{Cert: conf.CollectCert, Key: conf.CollectKey, CA: conf.CollectCA}.Server()
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "collect: %w", err)
	}
	c, err := link.NewCollector(link.CollectorOptions{
		Address: conf.CollectListen, TLS: secure, Dir: filepath.Join(conf.State, statedir.Nodes), Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	return c, nil
}

// collecting is a keeper that tells a collector what is stored.
type collecting struct {
	keeper
	nodes *link.Collector
}

// Append implements watch.Keeper. Ticks of nodes are not worth storing.
func (k collecting) Append(ctx context.Context, observations []event.Observation, revisions []session.Revision) ([]session.Revision, error) {
	facts := make([]event.Observation, 0, len(observations))
	for _, o := range observations {
		if _, tick := o.(event.Tick); !tick {
			facts = append(facts, o)
		}
	}
	var stored []session.Revision
	var err error
	if len(facts)+len(revisions) > 0 {
		stored, err = k.keeper.Append(ctx, facts, revisions)
	}
	if err == nil {
		k.nodes.Stored(observations)
	}
	return stored, err
}

// endedLately is how far back an ended session of a node is taken over: what
// the node sends again may concern it.
const endedLately = 15 * time.Minute

// Running implements watch.Keeper.
func (k collecting) Running(ctx context.Context) iter.Seq2[session.Session, error] {
	nodes := k.nodes.Nodes()
	return func(yield func(session.Session, error) bool) {
		for s, err := range k.keeper.Running(ctx) {
			if !yield(s, err) || err != nil {
				return
			}
		}
		for s, err := range k.store.EndedSince(ctx, time.Now().Add(-endedLately)) {
			if err == nil && !slices.Contains(nodes, s.Target.Node) {
				continue
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func nodeStatus(c *link.Collector) []watch.NodeStatus {
	list := c.Status()
	out := make([]watch.NodeStatus, len(list))
	for i, n := range list {
		s := watch.NodeStatus{
			Name: n.Name, Connected: n.Connected, Since: n.Since, Address: n.Address, Heard: n.Heard, Silent: n.Silent,
			Seen: n.Seen, Acknowledged: n.Acknowledged, Observations: n.Observations, Duplicates: n.Duplicates,
			Foreign: n.Foreign, Connects: n.Connects,
		}
		if n.Measured {
			offset, wrong := int64(n.Offset), int64(n.Error)
			s.ClockOffsetNS, s.ClockErrorNS = &offset, &wrong
		}
		for _, w := range n.States {
			s.Witnesses = append(s.Witnesses, watch.WitnessStatus{
				Name: w.Witness, Up: w.Up, Since: w.Time, Reason: w.Reason, Level: w.Level, Peers: w.Peers,
				Requests: w.Requests, OpenDoors: w.OpenDoors,
			})
		}
		out[i] = s
	}
	return out
}
