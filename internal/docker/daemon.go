package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Bounds of one question to the daemon.
const (
	askTimeout = 5 * time.Second
	maxAnswer  = 16 << 20 // bytes
)

// errGone says that the daemon knows no such container or exec (any more).
var errGone = errors.New("no such object")

// daemon asks one Docker daemon. The client library negotiates the version and
// reads the event stream; what is inspected is read into our own types, so that
// a field that we do not use cannot spoil the rest.
type daemon struct {
	cli     *client.Client
	http    *http.Client
	base    string                 // path before the version
	version atomic.Pointer[string] // agreed on at the last connect
}

// dial prepares a daemon's clients; it connects to nothing.
func dial(address string) (*daemon, error) {
	opts := []client.Opt{client.FromEnv}
	if address != "" {
		opts = []client.Opt{client.WithHost(address), client.WithAPIVersionFromEnv()}
		if strings.HasPrefix(address, "tcp:") {
			opts = append([]client.Opt{client.WithTLSClientConfigFromEnv()}, opts...)
		}
	}
	cli, err := client.New(append(opts, client.WithUserAgent("sallyport"))...)
	if err != nil {
		return nil, fmt.Errorf("docker address %q: %w", address, err)
	}
	host, err := client.ParseHostURL(cli.DaemonHost())
	if err != nil {
		return nil, fmt.Errorf("docker address %q: %w", address, err)
	}
	connect := cli.Dialer()
	return &daemon{cli: cli, base: strings.TrimSuffix(host.Path, "/"), http: &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx) },
		MaxIdleConns:    inspectors,
		MaxConnsPerHost: 2 * inspectors,
		IdleConnTimeout: time.Minute,
	}}}, nil
}

func (d *daemon) close() {
	d.cli.Close()
	d.http.CloseIdleConnections()
}

// host returns the daemon's address: "unix", "/path" or "tcp", "host:port".
func (d *daemon) host() (scheme, address string) {
	scheme, address, _ = strings.Cut(d.cli.DaemonHost(), "://")
	return scheme, address
}

// ping asks whether the daemon answers.
func (d *daemon) ping(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := d.cli.Ping(ctx, client.PingOptions{})
	return err
}

// agree agrees on a version with the daemon, which may have been replaced since
// the last time.
func (d *daemon) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := d.cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true, ForceNegotiate: true}); err != nil {
		return err
	}
	v := d.cli.ClientVersion()
	d.version.Store(&v)
	return nil
}

// events opens the event stream from since on. The stream ends with cancel.
func (d *daemon) events(ctx context.Context, since time.Time) (_ <-chan events.Message, _ <-chan error, cancel func(), _ error) {
	ctx, cancel = context.WithCancel(ctx)
	// Events waits for the head of the answer without a bound of its own.
	slow := time.AfterFunc(askTimeout, cancel)
	res := d.cli.Events(ctx, client.EventsListOptions{Since: fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())})
	if !slow.Stop() {
		return nil, nil, nil, fmt.Errorf("open event stream: no answer within %v", askTimeout)
	}
	return res.Messages, res.Err, cancel, nil
}

// get asks for path and reads the JSON answer into v.
func (d *daemon) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	version := d.version.Load()
	if version == nil {
		return fmt.Errorf("get %s: not connected yet", path)
	}
	u := "http://docker" + d.base + "/v" + *version + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "sallyport")
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxAnswer)
	defer func() { _, _ = io.Copy(io.Discard, body) }() // a connection is used again only behind its answer
	switch res.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(body).Decode(v)
	case http.StatusNotFound:
		return fmt.Errorf("get %s: %w", path, errGone)
	}
	why, _ := io.ReadAll(io.LimitReader(body, 512))
	return fmt.Errorf("get %s: %s: %q", path, res.Status, why)
}

// running returns the ids of the running containers.
func (d *daemon) running(ctx context.Context) ([]string, error) {
	var list []struct {
		ID string `json:"Id"`
	}
	if err := d.get(ctx, "/containers/json", &list); err != nil {
		return nil, err
	}
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	return ids, nil
}

func (d *daemon) container(ctx context.Context, id string) (*containerJSON, error) {
	var v containerJSON
	if err := d.get(ctx, "/containers/"+url.PathEscape(id)+"/json", &v); err != nil {
		return nil, err
	}
	for i := range v.Mounts {
		m := &v.Mounts[i]
		if m.Type != "volume" || m.Driver != "local" {
			continue
		}
		var err error
		if m.device, err = d.device(ctx, m.Name); err != nil {
			v.partial = true
		}
	}
	return &v, nil
}

// device returns the directory or device of the host that the local driver mounts for
// a volume, "" when it keeps the volume in a directory of its own.
func (d *daemon) device(ctx context.Context, volume string) (string, error) {
	var v struct{ Options map[string]string }
	err := d.get(ctx, "/volumes/"+url.PathEscape(volume), &v)
	return v.Options["device"], err
}

func (d *daemon) exec(ctx context.Context, id string) (*execJSON, error) {
	var v execJSON
	if err := d.get(ctx, "/exec/"+url.PathEscape(id)+"/json", &v); err != nil {
		return nil, err
	}
	return &v, nil
}
