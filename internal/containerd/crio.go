package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/internal/core/event"
)

// CRIO is the witness of CRI-O's containers: which pod each belongs to, and its names
// and image. CRI-O tells of no events unless it is configured to, so its list is asked
// for every second, as a kubelet does; a container that came and was removed in between
// stays without names.
type CRIO struct {
	address string
	log     *slog.Logger
}

// NewCRIO returns a witness of the CRI-O whose socket is at address; it does no I/O. A
// nil logger is silent.
func NewCRIO(address string, log *slog.Logger) *CRIO {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &CRIO{address: address, log: log}
}

// UsualCRIO is the path where CRI-O's socket usually is.
const UsualCRIO = "/run/crio/crio.sock"

// crioEvery is how often CRI-O is asked.
const crioEvery = time.Second

// Run reports observations until ctx ends, and then returns nil: one RuntimeContainer
// for each container and each pod's own, after every connect and when it is new, and
// when CRI-O begins and ceases to answer a WitnessState, with its process.
func (w *CRIO) Run(ctx context.Context, emit func(event.Observation)) error {
	wait, reason, heard := firstBackoff, "", time.Now()
	for {
		up, last, err := w.connection(ctx, emit)
		if ctx.Err() != nil {
			return nil
		}
		if up {
			wait, reason, heard = firstBackoff, "", last
		}
		if err.Error() != reason {
			reason = err.Error()
			w.log.Warn("CRI-O is not heard", "address", w.address, "error", err)
			emit(event.WitnessState{Header: headerCRIO(heard), Reason: reason})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastBackoff)
	}
}

func headerCRIO(t time.Time) event.Header {
	return event.Header{Time: t.UTC(), Witness: event.WitnessCRIO}
}

// connection is one connection from its dial to its end; up says that it worked at all,
// heard when CRI-O answered last. err is never nil.
func (w *CRIO) connection(ctx context.Context, emit func(event.Observation)) (up bool, heard time.Time, err error) {
	defer func() { err = fmt.Errorf("watch CRI-O %s: %w", w.address, err) }()
	conn, pid, err := dialCRIO(ctx, w.address)
	if err != nil {
		return false, time.Time{}, err
	}
	defer conn.Close()
	tick := time.NewTicker(crioEvery)
	defer tick.Stop()
	for known := map[event.ContainerID]bool{}; ; {
		asked := time.Now()
		list, err := listCRIO(ctx, conn, asked)
		if err != nil {
			return up, heard, err
		}
		if heard = asked; !up {
			up = true
			emit(event.WitnessState{Header: headerCRIO(asked), Up: true, From: asked.UTC(), DaemonPID: pid})
		}
		there := make(map[event.ContainerID]bool, len(list))
		for _, c := range list {
			if there[c.ID] = true; !known[c.ID] {
				emit(c)
			}
		}
		known = there
		select {
		case <-ctx.Done():
			return up, heard, ctx.Err()
		case <-tick.C:
		}
	}
}

// dialCRIO returns a client over one connection, and the pid of who listens. It makes no
// other when that ends: behind it may be another CRI-O.
func dialCRIO(ctx context.Context, address string) (conn *grpc.ClientConn, pid uint32, err error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, 0, err
	}
	pid = peerPID(nc)
	var used atomic.Bool
	conn, err = grpc.NewClient("passthrough:///crio",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodec(raw{})),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, net.ErrClosed
			}
			return nc, nil
		}),
	)
	if err != nil {
		return nil, 0, errors.Join(err, nc.Close())
	}
	conn.Connect() // from here on the connection is its to close
	return conn, pid, nil
}

// VersionOfCRIO asks the CRI-O at a socket for its version.
func VersionOfCRIO(ctx context.Context, address string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, _, err := dialCRIO(ctx, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var answer []byte
	if err := conn.Invoke(ctx, criService+"Version", []byte(nil), &answer); err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", address, err)
	}
	fields(answer, func(n protowire.Number, f field) {
		if n == 3 {
			version = valid(short(f.text()))
		}
	})
	return version, nil
}

// criService is how the names of CRI's methods begin.
const criService = "/runtime.v1.RuntimeService/"

// listCRIO asks for the pods and then for the containers in them.
func listCRIO(ctx context.Context, conn *grpc.ClientConn, asked time.Time) ([]event.RuntimeContainer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := listOf(ctx, conn, "ListPodSandbox", asked, readSandbox)
	if err != nil {
		return nil, err
	}
	pods := make(map[event.ContainerID]event.RuntimeContainer, len(list))
	for _, p := range list {
		pods[p.ID] = p
	}
	containers, err := listOf(ctx, conn, "ListContainers", asked, readListed)
	for _, c := range containers {
		p := pods[c.SandboxID]
		c.Pod, c.PodNamespace, c.PodUID = p.Pod, p.PodNamespace, p.PodUID
		list = append(list, c)
	}
	return list, err
}

func listOf(ctx context.Context, conn *grpc.ClientConn, method string, asked time.Time, read func([]byte, *event.RuntimeContainer) bool) ([]event.RuntimeContainer, error) {
	var answer []byte
	if err := conn.Invoke(ctx, criService+method, []byte(nil), &answer); err != nil {
		return nil, err
	}
	var list []event.RuntimeContainer
	whole := fields(answer, func(n protowire.Number, f field) {
		c := event.RuntimeContainer{Header: headerCRIO(asked)}
		if n == 1 && read(f.bytes, &c) && plausible(string(c.ID)) {
			list = append(list, c)
		}
	})
	if !whole {
		return nil, fmt.Errorf("the answer to %s is not understood", method)
	}
	return list, nil
}

// readSandbox reads a PodSandbox of CRI's.
func readSandbox(b []byte, c *event.RuntimeContainer) bool {
	c.Sandbox = true
	good := fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			c.ID = event.ContainerID(short(f.text()))
		case 2:
			fields(f.bytes, func(n protowire.Number, f field) {
				switch n {
				case 1:
					c.Pod = valid(short(f.text()))
				case 2:
					c.PodUID = valid(short(f.text()))
				case 3:
					c.PodNamespace = valid(short(f.text()))
				}
			})
		case 4:
			c.Created = time.Unix(0, int64(f.number)).UTC()
		}
	})
	c.SandboxID = c.ID
	return good
}

// readListed reads a Container of CRI's.
func readListed(b []byte, c *event.RuntimeContainer) bool {
	var image, asked string
	good := fields(b, func(n protowire.Number, f field) {
		switch n {
		case 1:
			c.ID = event.ContainerID(short(f.text()))
		case 2:
			c.SandboxID = event.ContainerID(short(f.text()))
		case 3:
			fields(f.bytes, func(n protowire.Number, f field) {
				switch n {
				case 1:
					c.Name = valid(short(f.text()))
				case 2:
					c.Attempt = int(f.number)
				}
			})
		case 4:
			fields(f.bytes, func(n protowire.Number, f field) {
				switch n {
				case 1:
					image = f.text()
				case 18: // as whoever made the container named it
					asked = f.text()
				}
			})
		case 7:
			c.Created = time.Unix(0, int64(f.number)).UTC()
		}
	})
	c.Image = valid(short(cmp.Or(asked, image)))
	return good
}

// raw leaves messages as they are. It has no name: CRI-O serves what says
// "application/grpc" and hangs up on "application/grpc+proto".
type raw struct{}

func (raw) Name() string { return "" }

func (raw) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("message of type %T", v)
	}
	return b, nil
}

func (raw) Unmarshal(b []byte, v any) error {
	to, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("message for %T", v)
	}
	*to = append([]byte(nil), b...)
	return nil
}
