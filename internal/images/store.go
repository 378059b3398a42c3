package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	digest "github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store has blobs by their digests, as a content store does.
type Store interface {
	// Open returns a blob's content; an error that is fs.ErrNotExist when it has none.
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
}

// Read looks into the image of a store whose manifest or index has this digest. Names are
// what the store calls it.
func Read(ctx context.Context, s Store, target string, names []string) ([]Image, error) {
	g := gather{from: &reader{ctx: ctx, store: s, budget: newBudget()}}
	d := &oci.Descriptor{Digest: digest.Digest(target)}
	if err := g.follow(d, nil, names, 0); err != nil {
		return g.out, fmt.Errorf("read image: %w", err)
	}
	return g.out, nil
}

// ReadLayout looks into all images of a directory with an OCI layout.
func ReadLayout(ctx context.Context, dir string) ([]Image, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout: %w", err)
	}
	defer root.Close()
	f, err := root.Open(oci.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read OCI layout: %s has no %s", dir, oci.ImageIndexFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read OCI layout: %w", err)
	}
	defer f.Close()
	raw, err := bounded(f)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout: %w", err)
	}
	g := gather{from: &reader{ctx: ctx, store: layout{root}, budget: newBudget()}}
	if err := g.document(raw, nil, nil, 0); err != nil {
		return g.out, fmt.Errorf("read OCI layout: %w", err)
	}
	return g.out, nil
}

// layout is a directory with an OCI layout. Links do not lead out of it.
type layout struct{ *os.Root }

// Open implements Store.
func (l layout) Open(_ context.Context, d string) (io.ReadCloser, error) {
	name := blobFile(digest.Digest(d))
	if name == "" {
		return nil, fmt.Errorf("%.100q is no digest", d)
	}
	return l.Root.Open(filepath.FromSlash(name[1:]))
}

// reader reads the blobs of a store.
type reader struct {
	ctx    context.Context
	store  Store
	budget *budget
}

func (r *reader) open(d digest.Digest) (io.ReadCloser, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%.100q: %w", d, err)
	}
	in, err := r.store.Open(r.ctx, string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotHere
	}
	return in, err
}

func (r *reader) document(d digest.Digest) ([]byte, error) {
	in, err := r.open(d)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	raw, err := bounded(in)
	if err != nil {
		return nil, err
	}
	return verified(raw, d)
}

func (r *reader) layer(d digest.Digest) (*layer, error) {
	in, err := r.open(d)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return readLayer(in, r.budget)
}

func (r *reader) has(d digest.Digest) bool {
	in, err := r.open(d)
	if err != nil {
		return false
	}
	return in.Close() == nil
}

// bounded reads a document.
func bounded(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, documentMax+1))
	if err == nil && len(raw) > documentMax {
		err = fmt.Errorf("%w: a document", ErrLarge)
	}
	return raw, err
}
