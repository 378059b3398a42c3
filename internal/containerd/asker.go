package containerd

import (
	"context"
	"fmt"
	"sync"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds of an asker: questions that wait, and containers remembered as known.
// Beyond the first a question is put again with the container's next event,
// beyond the second all are forgotten and told once more.
const (
	questionsMax = 1024
	knownMax     = 16384
)

// question is a container to ask about.
type question struct {
	namespace string
	id        event.ContainerID
}

// asker asks containerd about each container once, beside the event stream.
type asker struct {
	emit  func(event.RuntimeContainer)
	queue chan question

	mu    sync.Mutex
	known map[question]bool // guarded by mu; asked about, or about to be
}

func newAsker(emit func(event.RuntimeContainer)) *asker {
	return &asker{emit: emit, queue: make(chan question, questionsMax), known: map[question]bool{}}
}

// want asks about a container unless it is known. It does not block.
func (a *asker) want(namespace string, id event.ContainerID) {
	q := question{namespace, id}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[q] {
		return
	}
	select {
	case a.queue <- q:
	default:
		return
	}
	if len(a.known) >= knownMax {
		clear(a.known)
	}
	a.known[q] = true
}

// forget makes a container unknown: it is gone, or the question failed.
func (a *asker) forget(namespace string, id event.ContainerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, question{namespace, id})
}

// run answers until ctx ends. A container that is gone by now is not an error;
// of any other failure the container's next event makes a new question.
func (a *asker) run(ctx context.Context, conn grpc.ClientConnInterface, failed func(error)) error {
	client := containersapi.NewContainersClient(conn)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case q := <-a.queue:
			err := a.ask(ctx, client, q)
			if err != nil {
				a.forget(q.namespace, q.id)
			}
			if err != nil && status.Code(err) != codes.NotFound && ctx.Err() == nil {
				failed(fmt.Errorf("ask about container %s in namespace %s: %w", q.id, q.namespace, err))
			}
		}
	}
}

func (a *asker) ask(ctx context.Context, client containersapi.ContainersClient, q question) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", q.namespace), callTimeout)
	defer cancel()
	asked := time.Now()
	res, err := client.Get(ctx, &containersapi.GetContainerRequest{ID: string(q.id)})
	if err != nil {
		return err
	}
	d, err := describe(asked, q.namespace, res.GetContainer())
	if err != nil {
		return err
	}
	a.emit(d)
	return nil
}
