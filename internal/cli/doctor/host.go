package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/moby/moby/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/host"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/lib/atmost"
	"github.com/sallyport/sallyport/internal/watch"
)

// newExam returns an exam of the machine that the program runs on, with the
// configuration that `up` would have. It looks for the services where `up` does.
func newExam(env *terminal.Env, conf config.Config) *exam {
	built, _ := time.Parse(time.RFC3339, build.This().Time)
	daemon := host.FindDocker(env, conf)
	return &exam{
		conf: conf, goos: runtime.GOOS, uid: os.Geteuid(), now: time.Now, built: built,
		read: readSmall, features: sync.OnceValue(kernel.Probe), docker: askDocker, listeners: docker.Listeners,
		find: func() (string, error) { return host.FindContainerd(conf, daemon) }, containerd: askContainerd, dir: lookAtDir, synced: clockSynced,
		crio: askCRIO(host.FindCRIO(conf)), address: daemon.Address, audit: audit.Inspect, kube: askKube(conf.KubeKubeconfig),
		status: sync.OnceValues(func() (*watch.Status, error) { return askUp(conf.State) }),
	}
}

// askCRIO returns what asks the CRI-O at a socket, nil without one.
func askCRIO(socket string) func(context.Context) (string, error) {
	if socket == "" {
		return nil
	}
	return func(ctx context.Context) (string, error) {
		version, err := containerd.VersionOfCRIO(ctx, socket)
		return fmt.Sprintf("version %s, at %s", version, socket), err
	}
}

// pageMax bounds what is read of an API server's answer.
const pageMax = 64 << 20

// askKube returns what asks the API server of a kubeconfig, nil without one.
func askKube(kubeconfig string) func(context.Context, string) (int, []byte, error) {
	if kubeconfig == "" {
		return nil
	}
	connect := sync.OnceValues(func() (*api.Client, error) { return api.Connect(kubeconfig) })
	return func(ctx context.Context, path string) (int, []byte, error) {
		client, err := connect()
		if err != nil {
			return 0, nil, err
		}
		body, err := client.Get(ctx, path, api.JSON+", text/plain")
		var status *api.StatusError
		if errors.As(err, &status) {
			return status.Code, nil, nil
		}
		if err != nil {
			return 0, nil, err
		}
		defer body.Close()
		page, err := io.ReadAll(io.LimitReader(body, pageMax))
		return http.StatusOK, page, err
	}
}

// askUp returns the status of the `up` that runs on a state directory, nil when
// none does.
func askUp(state string) (*watch.Status, error) {
	address, err := readSmall(filepath.Join(state, statedir.Address))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + strings.TrimSpace(address) + "/status")
	if err != nil {
		return nil, nil // the file of one that was killed
	}
	defer res.Body.Close()
	var s watch.Status
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(&s); err != nil {
		return nil, fmt.Errorf("status of sallyport up: %w", err)
	}
	return &s, nil
}

// readSmall reads a file of /proc, up to a megabyte.
func readSmall(path string) (string, error) {
	b, err := atmost.ReadFile(path, 1<<20)
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
	facts.Holder, _ = statedir.Writer(abs)
	return facts, nil
}
