package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// saveIdle is how long a daemon may say nothing while it saves an image.
const saveIdle = 30 * time.Second

// Images gives out the images of a daemon.
type Images struct{ d *daemon }

// OpenImages connects to the daemon at address, "" for the one of the environment.
func OpenImages(ctx context.Context, address string) (*Images, error) {
	d, err := dial(address)
	if err != nil {
		return nil, err
	}
	if err := d.agree(ctx); err != nil {
		d.close()
		return nil, err
	}
	return &Images{d}, nil
}

// Close ends the connection.
func (i *Images) Close() { i.d.close() }

// Save returns the image with this id as `docker save` writes it. Reading fails when the
// daemon sends nothing for a while.
func (i *Images) Save(ctx context.Context, id string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	slow := time.AfterFunc(saveIdle, func() { cancel(fmt.Errorf("the daemon sends nothing for %v", saveIdle)) })
	body, err := i.save(ctx, id)
	if err != nil {
		slow.Stop()
		err = errors.Join(err, context.Cause(ctx))
		cancel(nil)
		return nil, err
	}
	return &patient{ReadCloser: body, slow: slow, ctx: ctx, cancel: cancel}, nil
}

func (i *Images) save(ctx context.Context, id string) (io.ReadCloser, error) {
	u := "http://docker" + i.d.base + "/v" + *i.d.version.Load() + "/images/" + url.PathEscape(id) + "/get"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("save image: %w", err)
	}
	req.Header.Set("User-Agent", "sallyport")
	res, err := i.d.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("save image: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(res.Body, 512))
	return nil, fmt.Errorf("save image %s: %s: %q", id, res.Status, why)
}

// patient is a body that ends when nothing of it comes for a while.
type patient struct {
	io.ReadCloser
	slow   *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	p.slow.Reset(saveIdle)
	n, err := p.ReadCloser.Read(b)
	if cause := context.Cause(p.ctx); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

// Close implements io.Closer.
func (p *patient) Close() error {
	p.slow.Stop()
	p.cancel(nil)
	return p.ReadCloser.Close()
}

// ID returns the id of the image that the daemon has by a name, a digest or an id; false
// when it has none.
func (i *Images) ID(ctx context.Context, ref string) (string, bool, error) {
	var v struct {
		ID string `json:"Id"`
	}
	err := i.d.get(ctx, "/images/"+url.PathEscape(ref)+"/json", &v)
	if errors.Is(err, errGone) {
		return "", false, nil
	}
	return v.ID, err == nil, err
}
