package containerd

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sallyport/sallyport/internal/core/event"
)

// maxMessage bounds one message from containerd, in bytes. A list of 10,000
// tasks is about 3 MB.
const maxMessage = 16 << 20

// connection is one connection from its dial to its end. up says that it
// worked at all, heard is when containerd was last heard on it, and err is
// never nil.
func (w *Witness) connection(ctx context.Context, emit func(event.Observation)) (up bool, heard time.Time, err error) {
	c := &conn{w: w, confirmed: make(chan struct{}), sink: emit, heard: time.Now()}
	c.asker = newAsker(c.container)
	err = c.run(ctx)
	return c.up, c.heard, fmt.Errorf("watch containerd %s: %w", w.opts.Address, err)
}

// conn is one connection. One goroutine receives events, a second asks about
// the containers in them, a third confirms the subscription, lists what runs
// and then keeps the heart beat.
type conn struct {
	w         *Witness
	grpc      *grpc.ClientConn
	confirmed chan struct{} // closed when the subscription is known to be live
	asker     *asker

	mu    sync.Mutex // guards all below, and serialises sink
	sink  func(event.Observation)
	heard time.Time
	pid   uint32 // containerd's
	up    bool
}

func (c *conn) run(ctx context.Context) error {
	g, err := c.dial()
	if err != nil {
		return err
	}
	defer g.Close()
	c.grpc = g
	if err := c.ping(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	stream, err := eventsapi.NewEventsClient(g).Subscribe(ctx, &eventsapi.SubscribeRequest{
		Filters: []string{
			`topic~="^/tasks/"`, `topic=="/containers/create"`, `topic=="/containers/delete"`, `topic=="` + helloTopic + `"`,
		},
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	group.Go(func() error { return c.receive(stream) })
	group.Go(func() error { return c.asker.run(ctx, g, c.unanswered) })
	group.Go(func() error {
		if err := c.confirm(ctx); err != nil {
			return err
		}
		return c.beat(ctx)
	})
	return group.Wait()
}

// helloTopic is the topic of the event by which a witness learns that its
// subscription is live.
const helloTopic = "/sallyport/hello"

// confirm returns when the subscription is known to be live. containerd says
// nothing before the first event, and its handlers run in any order: of 100
// connections one missed an event that was published right after a later call
// had been answered. So the witness publishes an event of its own, of a topic
// and namespace that concern nobody else, until it hears it.
func (c *conn) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "sallyport")
	hello := &eventsapi.PublishRequest{Topic: helloTopic, Event: &anypb.Any{TypeUrl: "google.protobuf.Empty"}}
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		_, err := eventsapi.NewEventsClient(c.grpc).Publish(call, hello)
		if err != nil && ctx.Err() == nil {
			c.announce("subscription not confirmed: " + err.Error())
			return nil
		}
		select {
		case <-c.confirmed:
			tick.Stop()
			return nil
		case <-ctx.Done():
			return fmt.Errorf("confirm subscription: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// dial makes a client; the first call connects. Keepalive is left off:
// containerd's server refuses pings more often than every five minutes
// (grpc's default enforcement), so beat asks for the version instead.
func (c *conn) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: callTimeout}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			nc, err := d.DialContext(ctx, "unix", c.w.opts.Address)
			if err == nil {
				c.setPID(peerPID(nc))
			}
			return nc, err
		}),
	)
}

func (c *conn) setPID(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

// ping makes a round trip, bounded by callTimeout.
func (c *conn) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := versionapi.NewVersionClient(c.grpc).Version(ctx, &emptypb.Empty{}); err != nil {
		return fmt.Errorf("ask version: %w", err)
	}
	c.hear(time.Now())
	return nil
}

func (c *conn) hear(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = t
}

func (c *conn) emit(o event.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sink(o)
}

// announce says, once, that from now on no event is missed; a reason says why
// that is not certain.
func (c *conn) announce(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up {
		return
	}
	c.up, c.heard = true, time.Now()
	c.w.stats.connects.Add(1)
	c.sink(event.WitnessState{
		Header: header(c.heard), Up: true, From: c.heard.UTC(), DaemonPID: c.pid, Reason: reason,
	})
	close(c.confirmed)
}

// beat lists what runs, and then keeps asking containerd for a sign of life.
// What could not be listed is tried again at every beat.
func (c *conn) beat(ctx context.Context) error {
	l := lister{
		tasks: tasksapi.NewTasksClient(c.grpc), containers: containersapi.NewContainersClient(c.grpc), emit: c.task, seen: map[string]bool{},
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for listed := false; ; {
		if !listed {
			err := l.list(ctx, c.grpc, c.w.opts.Namespaces)
			if err != nil && ctx.Err() == nil {
				c.w.opts.Logger.Warn("running tasks are not all known yet", "address", c.w.opts.Address, "error", err)
			}
			listed = err == nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := c.ping(ctx); err != nil {
			return err
		}
	}
}

func (c *conn) task(t event.RuntimeTask) {
	c.w.stats.tasks.Add(1)
	c.emit(t)
	c.asker.want(t.Namespace, t.Container)
}

func (c *conn) container(d event.RuntimeContainer) {
	c.w.stats.containers.Add(1)
	c.emit(d)
}

func (c *conn) unanswered(err error) {
	c.w.stats.unanswered.Add(1)
	c.w.opts.Logger.Warn("what a container is stays unknown for now", "address", c.w.opts.Address, "error", err)
}

// receive reports events until the stream ends.
func (c *conn) receive(stream eventsapi.Events_SubscribeClient) error {
	for {
		env, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive events: %w", err)
		}
		now := time.Now()
		c.hear(now)
		if env.GetTopic() == helloTopic {
			c.announce("")
			continue
		}
		c.report(env, now)
	}
}

// report reports one entry of the event stream.
func (c *conn) report(env *types.Envelope, now time.Time) {
	if c.containerChange(env) {
		return
	}
	e, ok, err := decode(env, now)
	switch {
	case err != nil:
		c.w.stats.bad.Add(1)
		c.w.opts.Logger.Warn("containerd event not understood", "error", err)
		c.emit(event.Loss{Header: header(now), From: now.UTC(), Count: 1, What: "events"})
	case !ok:
		c.w.stats.ignored.Add(1)
	default:
		c.w.stats.events.Add(1)
		c.emit(e)
		c.asker.want(e.Namespace, e.Container)
	}
}

// containerChange deals with an entry that says that a container was made or
// deleted, and reports whether env is one. These are no observations; a made
// container is asked about before its first task exists.
func (c *conn) containerChange(env *types.Envelope) bool {
	id, made, ok := decodeContainer(env.GetEvent().GetTypeUrl(), env.GetEvent().GetValue())
	switch {
	case !ok || !plausible(env.GetNamespace(), string(id)):
		return ok
	case made:
		c.asker.want(env.GetNamespace(), id)
	default:
		c.asker.forget(env.GetNamespace(), id)
	}
	return true
}
