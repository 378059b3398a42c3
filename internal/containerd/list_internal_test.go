package containerd

import (
	"context"
	"io"
	"slices"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/internal/core/event"
)

// hanging is a containerd 2 with four containers: of one the shim runs, of one it
// hangs, and is then missing in the list; one has no task, and of one the task begins
// after the list was made.
type hanging struct {
	tasksapi.TasksClient
	hangs bool
}

// ids are its containers.
type ids struct {
	containersapi.ContainersClient
	grpc.ClientStream
	left []string
}

func running(id string, pid uint32) *task.Process {
	return &task.Process{ID: id, Pid: pid, Status: task.Status_RUNNING}
}

func (h *hanging) List(context.Context, *tasksapi.ListTasksRequest, ...grpc.CallOption) (*tasksapi.ListTasksResponse, error) {
	return &tasksapi.ListTasksResponse{Tasks: []*task.Process{running("fine", 1)}}, nil
}

func (h *hanging) ListPids(context.Context, *tasksapi.ListPidsRequest, ...grpc.CallOption) (*tasksapi.ListPidsResponse, error) {
	return &tasksapi.ListPidsResponse{}, nil
}

func (h *hanging) Get(_ context.Context, r *tasksapi.GetRequest, _ ...grpc.CallOption) (*tasksapi.GetResponse, error) {
	switch {
	case r.GetContainerID() == "none":
		return nil, status.Error(codes.NotFound, "no task")
	case r.GetContainerID() == "hung" && h.hangs:
		return nil, status.Error(codes.DeadlineExceeded, "the shim does not answer")
	}
	return &tasksapi.GetResponse{Process: running(r.GetContainerID(), 2)}, nil
}

func (i *ids) ListStream(context.Context, *containersapi.ListContainersRequest, ...grpc.CallOption) (containersapi.Containers_ListStreamClient, error) {
	return &ids{left: []string{"fine", "hung", "none", "late"}}, nil
}

func (i *ids) Recv() (*containersapi.ListContainerMessage, error) {
	if len(i.left) == 0 {
		return nil, io.EOF
	}
	id := i.left[0]
	i.left = i.left[1:]
	return &containersapi.ListContainerMessage{Container: &containersapi.Container{ID: id}}, nil
}

// TestListHung: a task whose shim hangs, which containerd 2 leaves out, keeps the list
// from being whole; when it answers it is told, and nothing else again.
func TestListHung(t *testing.T) {
	h := &hanging{hangs: true}
	var got []string
	l := lister{tasks: h, containers: &ids{}, seen: map[string]bool{}, emit: func(o event.RuntimeTask) { got = append(got, string(o.Container)) }}
	if err := l.list(t.Context(), nil, []string{"moby"}); err == nil || !slices.Equal(got, []string{"fine", "late"}) {
		t.Errorf("%q, %v", got, err)
	}
	h.hangs = false
	if err := l.list(t.Context(), nil, []string{"moby"}); err != nil || !slices.Equal(got, []string{"fine", "late", "hung"}) {
		t.Errorf("%q, %v", got, err)
	}
}
