package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/audit"
)

// hostFlags say which services and which store a command asks about.
type hostFlags struct{ docker, containerd, state, auditLog, kubeconfig string }

func (f *hostFlags) add(cmd *cobra.Command, env *environment) {
	cmd.Flags().StringVar(&f.docker, "docker", "", "Docker's `ADDR`: socket path, unix:///path or tcp://host:port (default DOCKER_HOST or the usual sockets)")
	cmd.Flags().StringVar(&f.containerd, "containerd", "", "`PATH` of containerd's socket (default: the one that the Docker daemon uses)")
	cmd.Flags().StringVar(&f.auditLog, "audit-log", "", "`FILE` that a kube-apiserver writes its audit log to (default: that of this host's API server)")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "look at the API server by `FILE`, or in-cluster")
	cmd.Flags().StringVar(&f.state, "state", env.stateDir(), "state directory `DIR`")
}

// newExam returns an exam of the machine that the program runs on. It looks for
// the services where `up` does.
func newExam(env *environment, where hostFlags) *exam {
	built, _ := time.Parse(time.RFC3339, thisBuild().Time)
	h := &host{conf: config{Containerd: where.containerd}, docker: findDocker(env, where.docker)}
	return &exam{
		goos: runtime.GOOS, uid: os.Geteuid(), now: time.Now, built: built,
		read: readSmall, features: sync.OnceValue(kernel.Probe), docker: askDocker, listeners: docker.Listeners,
		find: h.containerdSocket, containerd: askContainerd, dir: lookAtDir, synced: clockSynced,
		address: h.docker.address, state: where.state, audit: audit.Inspect, auditLog: where.auditLog, kube: askKube(where.kubeconfig),
	}
}

// askKube returns what asks the API server of a kubeconfig, nil without one.
func askKube(kubeconfig string) func(context.Context, string) (int, error) {
	if kubeconfig == "" {
		return nil
	}
	connect := sync.OnceValues(func() (*api.Client, error) { return api.Connect(kubeconfig) })
	return func(ctx context.Context, path string) (int, error) {
		client, err := connect()
		if err != nil {
			return 0, err
		}
		return client.Probe(ctx, path)
	}
}

// readSmall reads a file of /proc, up to a megabyte.
func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b), err
}

// askDocker asks the daemon at address; certificates come from the environment.
func askDocker(ctx context.Context, address string) (dockerFacts, error) {
	c, err := client.New(client.FromEnv, client.WithHost(address))
	if err != nil {
		return dockerFacts{}, err
	}
	defer c.Close()
	version, err := c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return dockerFacts{}, err // names the address
	}
	facts := dockerFacts{Address: c.DaemonHost(), Version: version.Version, APIVersion: version.APIVersion}
	if info, err := c.Info(ctx, client.InfoOptions{}); err == nil {
		facts.Security = info.Info.SecurityOptions
		facts.Authz = info.Info.Plugins.Authorization
	}
	return facts, nil
}

// askContainerd returns the version of the containerd at a socket.
func askContainerd(ctx context.Context, address string) (string, error) {
	conn, err := grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	v, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", err
	}
	return v.Version, nil
}

// lookAtDir looks at a directory without making it: where it does not exist,
// the nearest one above it counts.
func lookAtDir(path string) (dirFacts, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return dirFacts{}, err
	}
	var facts dirFacts
	for dir := abs; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir) {
			continue
		}
		if err != nil {
			return dirFacts{}, err
		}
		if !info.IsDir() {
			return dirFacts{}, fmt.Errorf("%s is not a directory", dir)
		}
		facts.Exists, facts.Mode = dir == abs, uint32(info.Mode().Perm())
		facts.Writable, facts.Free = spaceIn(dir)
		break
	}
	facts.Holder = holderOf(filepath.Join(abs, "lock"))
	return facts, nil
}
