package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/core/event"
)

// lister reports the tasks that run, each once however often it is asked.
type lister struct {
	tasks      tasksapi.TasksClient
	containers containersapi.ContainersClient
	emit       func(event.RuntimeTask)
	seen       map[string]bool // namespace/container listed in full
}

// list reports the tasks of the namespaces, or of all when none is given. The
// error says what could not be listed; the rest was.
func (l *lister) list(ctx context.Context, conn grpc.ClientConnInterface, namespaces []string) error {
	if len(namespaces) == 0 {
		var err error
		if namespaces, err = allNamespaces(ctx, conn); err != nil {
			return err
		}
	}
	var errs []error
	for _, ns := range namespaces {
		errs = append(errs, l.namespace(ctx, ns))
	}
	return errors.Join(errs...)
}

func allNamespaces(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := namespacesapi.NewNamespacesClient(conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var names []string
	for _, ns := range res.GetNamespaces() {
		names = append(names, ns.GetName())
	}
	return names, nil
}

func (l *lister) namespace(ctx context.Context, ns string) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", ns)
	asked := time.Now()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := l.tasks.List(call, &tasksapi.ListTasksRequest{})
	if err != nil {
		return fmt.Errorf("list tasks of namespace %s: %w", ns, err)
	}
	var errs []error
	listed := map[string]bool{}
	report := func(id string, p *task.Process) {
		key := ns + "/" + id
		if l.seen[key] || !plausible(ns, id) {
			return
		}
		if err := l.task(ctx, asked, ns, id, p); err != nil {
			errs = append(errs, err)
			return
		}
		l.seen[key] = true
	}
	for _, p := range res.GetTasks() {
		id := cmp.Or(p.GetContainerID(), p.GetID()) // containerd fills only ID
		listed[id] = true
		report(id, p)
	}
	// containerd 2 leaves out a task whose shim does not answer.
	ids, err := l.ids(ctx)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("list containers of namespace %s: %w", ns, err))...)
	}
	for _, id := range ids {
		if listed[id] || l.seen[ns+"/"+id] {
			continue
		}
		switch p, err := l.get(ctx, id); {
		case status.Code(err) == codes.NotFound: // it has no task
		case err != nil:
			errs = append(errs, fmt.Errorf("ask for task %s of namespace %s: %w", id, ns, err))
		default:
			report(id, p)
		}
	}
	return errors.Join(errs...)
}

// ids returns the containers of a namespace, one message each: what a list has of
// them may be too long for one.
func (l *lister) ids(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := l.containers.ListStream(ctx, &containersapi.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	var ids []string
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, m.GetContainer().GetID())
	}
}

func (l *lister) get(ctx context.Context, id string) (*task.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := l.tasks.Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	return res.GetProcess(), err
}

// task reports a container's first process and its running execs.
func (l *lister) task(ctx context.Context, asked time.Time, ns, id string, p *task.Process) error {
	if p.GetStatus() == task.Status_UNKNOWN {
		// containerd 1.6 lists a task like this when its shim does not answer.
		return fmt.Errorf("list processes of task %s in namespace %s: its state is unknown", id, ns)
	}
	running := p.GetStatus() != task.Status_STOPPED
	var execs map[string]uint32
	if running {
		var err error
		if execs, err = l.execs(ctx, id); err != nil {
			return fmt.Errorf("list processes of task %s in namespace %s: %w", id, ns, err)
		}
	}
	t := event.RuntimeTask{
		Header: header(asked), Namespace: ns, Container: event.ContainerID(id), PID: p.GetPid(), Running: running,
	}
	l.emit(t)
	for exec, pid := range execs {
		t.ExecID, t.PID = event.ExecID(exec), pid
		l.emit(t)
	}
	return nil
}

// execs returns the running execs of a task with their host pids. The runc
// shim names the exec id of each process that it started itself; processes
// that those started have none.
func (l *lister) execs(ctx context.Context, id string) (map[string]uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := l.tasks.ListPids(ctx, &tasksapi.ListPidsRequest{ContainerID: id})
	if err != nil {
		return nil, err
	}
	execs := map[string]uint32{}
	for _, p := range res.GetProcesses() {
		var d options.ProcessDetails
		if p.GetInfo() == nil || proto.Unmarshal(p.GetInfo().GetValue(), &d) != nil || !plausible(d.GetExecID()) {
			continue
		}
		execs[d.GetExecID()] = p.GetPid()
	}
	return execs, nil
}
