package door

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/lib/rawconn"
)

// Bounds of a question to the daemon.
const (
	askTimeout = 30 * time.Second
	answerMax  = 16 << 20 // bytes
)

// daemon is the Docker daemon behind the door.
type daemon struct {
	network, address string
	http             *calls
	// token marks our questions where the daemon asks a [Plugin] about them; "" in
	// front of it.
	token string
	// podman says that it was Podman when it was last asked.
	podman atomic.Bool
}

func newDaemon(network, address string) *daemon {
	d := &daemon{network: network, address: address}
	d.http = &calls{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx) },
		// Bodies pass as they are.
		DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		WriteBufferSize: 32 << 10, ReadBufferSize: 32 << 10, ExpectContinueTimeout: time.Second,
	}}
	return d
}

func (d *daemon) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, err
	}
	return rawconn.Of(c), nil
}

// answer is what the daemon says to a client.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// Error implements error: an answer that is not what was asked for.
func (a *answer) Error() string {
	return fmt.Sprintf("the Docker daemon answers %d: %s", a.status, clip(a.message()))
}

// message is what the daemon says to a person.
func (a *answer) message() string {
	var v struct{ Message string }
	if json.Unmarshal(a.body, &v) != nil || v.Message == "" {
		return http.StatusText(a.status)
	}
	return v.Message
}

// without returns the answer without the beginning of its message that a create does
// not have: Docker 20.10 says twice that there is no such image to whoever inspects
// it.
func (a *answer) without(beginning string) *answer {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(a.body, &said) != nil || !strings.HasPrefix(said.Message, beginning) {
		return a
	}
	said.Message = strings.TrimPrefix(said.Message, beginning)
	body, err := json.Marshal(said)
	if err != nil {
		return a
	}
	header := a.header.Clone()
	header.Del("Content-Length")
	return &answer{a.status, header, append(body, '\n')}
}

// get asks the daemon. An answer of another status than 200 is an *answer.
func (d *daemon) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "sallyport")
	if d.token != "" {
		req.Header.Set(lookupHeader, d.token)
	}
	res, err := d.http.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	d.podman.Store(res.Header.Get("Libpod-Api-Version") != "")
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > answerMax:
		return nil, fmt.Errorf("the Docker daemon's answer to %s is longer than %d bytes", path, answerMax)
	case res.StatusCode != http.StatusOK:
		return nil, &answer{res.StatusCode, res.Header, body}
	}
	return body, nil
}

func (d *daemon) container(ctx context.Context, ref string) (docker.Container, error) {
	body, err := d.get(ctx, "/containers/"+url.PathEscape(ref)+"/json")
	if err != nil {
		return docker.Container{}, err
	}
	return docker.ParseContainer(body, time.Now())
}

// fullID returns the full id of a container; the name itself when there is none of
// that name.
func (d *daemon) fullID(ctx context.Context, ref string) (string, error) {
	c, err := d.container(ctx, ref)
	if a, ok := err.(*answer); ok && a.status == http.StatusNotFound {
		return ref, nil
	}
	return string(c.ID), err
}

func (d *daemon) exec(ctx context.Context, id string) (event.DockerExec, error) {
	body, err := d.get(ctx, "/exec/"+url.PathEscape(id)+"/json")
	if err != nil {
		return event.DockerExec{}, err
	}
	return docker.ParseExec(body, time.Now())
}

// image is what a container takes from its image when a create does not say.
type image struct {
	ID     string `json:"Id"`
	Config struct {
		Entrypoint, Cmd, Env, Shell []string
		WorkingDir                  string
		Labels                      map[string]string
		Healthcheck                 *struct{ Test []string }
	}
	HealthCheck struct{ Test []string } // where Podman's own API has it
}

func (d *daemon) image(ctx context.Context, ref string) (image, error) {
	return d.imageAt(ctx, "", ref)
}

// imageAt asks for an image in the API whose paths begin so: a name may stand for
// different images in Docker's and in Podman's.
func (d *daemon) imageAt(ctx context.Context, api, ref string) (image, error) {
	var i image
	body, err := d.get(ctx, (&url.URL{Path: api + "/images/" + ref + "/json"}).EscapedPath())
	a, ok := err.(*answer)
	switch {
	case ok && a.status == http.StatusNotFound && d.token != "":
		return i, nil // the daemon is to say so itself: clients pull it then
	case ok:
		return i, a.without("no such image: " + ref + ": ")
	case err != nil:
		return i, err
	}
	if err := json.Unmarshal(body, &i); err != nil {
		return i, fmt.Errorf("inspect of image %q: %w", ref, err)
	}
	return i, nil
}

// dependencies returns the full ids of the containers that Podman starts before one.
func (d *daemon) dependencies(ctx context.Context, id string) ([]string, error) {
	body, err := d.get(ctx, libpodVersion+libpod+"/containers/"+id+"/json")
	if err != nil {
		return nil, err
	}
	var v struct{ Dependencies []string }
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("inspect of container %q: %w", id, err)
	}
	return v.Dependencies, nil
}

// device returns the directory of the host that a volume is, "" when it is none
// or there is no such volume yet.
func (d *daemon) device(ctx context.Context, name string) (string, error) {
	body, err := d.get(ctx, "/volumes/"+url.PathEscape(name))
	if a, ok := err.(*answer); ok && a.status == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var v struct{ Options map[string]string }
	if err := json.Unmarshal(body, &v); err != nil {
		return "", fmt.Errorf("inspect of volume %q: %w", name, err)
	}
	return v.Options["device"], nil
}
