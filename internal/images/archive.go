package images

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of an archive's own entries.
const (
	documentsMax = 64 << 20 // bytes of all documents
	filesMax     = 100_000
)

// savedImage is an image as manifest.json of `docker save` lists it.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive is what was in an archive. It has been read once, from its beginning to its
// end: nobody needs to keep it.
type archive struct {
	documents map[string][]byte
	layers    map[string]*layer
	broken    map[string]error  // what looked like a layer and is none
	links     map[string]string // older Docker links equal layers
	size      int
	budget    *budget
}

func newArchive(b *budget) *archive {
	return &archive{documents: map[string][]byte{}, layers: map[string]*layer{}, broken: map[string]error{}, links: map[string]string{}, budget: b}
}

// ReadArchive looks into all images of an archive: that of `docker save`, or a tar of an
// OCI layout, compressed or not. An image of several platforms counts as that for this
// machine, or else the first for Linux. The error says what is wrong with the archive or
// one of its images; images before it are returned besides.
func ReadArchive(r io.Reader) ([]Image, error) {
	a := newArchive(newBudget())
	plain, err := decompress(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	defer plain.Close()
	if err := a.read(&gauge{plain, newBudget()}); err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	out, err := a.images()
	if err != nil {
		return out, fmt.Errorf("read archive: %w", err)
	}
	return out, nil
}

func (a *archive) read(r io.Reader) error {
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == filesMax || len(h.Name) > nameMax {
			return fmt.Errorf("%w: files", ErrLarge)
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			err = a.file(name, t)
		case tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean("/" + h.Linkname)
		}
		if err != nil {
			return fmt.Errorf("%.100q: %w", h.Name, err)
		}
	}
}

// file keeps a document or what a layer holds; other files are nothing to us.
func (a *archive) file(name string, r io.Reader) error {
	in := bufio.NewReaderSize(r, 4<<10)
	head, err := in.Peek(tarBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case isLayer(head):
		l, err := readLayer(in, a.budget)
		if errors.Is(err, ErrLarge) {
			return err
		}
		if err != nil {
			a.broken[name] = err
		} else {
			a.layers[name] = l
		}
	case len(head) > 0 && (head[0] == '{' || head[0] == '['):
		raw, err := io.ReadAll(io.LimitReader(in, documentMax+1))
		if err != nil {
			return err
		}
		if a.size += len(raw); len(raw) > documentMax || a.size > documentsMax {
			return fmt.Errorf("%w: documents", ErrLarge)
		}
		a.documents[name] = raw
	}
	return nil
}

// The documents that an archive begins with.
const (
	indexFile = "/index.json"
	savedFile = "/manifest.json"
)

func (a *archive) images() ([]Image, error) {
	g := gather{from: a}
	index, saved := a.documents[indexFile], a.documents[savedFile]
	if index == nil && saved == nil {
		return nil, errors.New("no image: neither manifest.json nor index.json is in it")
	}
	var errs []error
	if index != nil {
		errs = append(errs, g.document(index, nil, nil, 0))
	}
	var list []savedImage
	if saved != nil {
		if err := json.Unmarshal(saved, &list); err != nil {
			errs = append(errs, fmt.Errorf("manifest.json: %w", err))
		}
	}
	for i := range list {
		errs = append(errs, a.saved(&g, &list[i]))
	}
	return g.out, errors.Join(errs...)
}

// saved takes in an image of manifest.json. One that the index has, too, gets its names.
func (a *archive) saved(g *gather, s *savedImage) error {
	raw := a.documents[a.follow(path.Clean("/"+s.Config))]
	if raw == nil {
		return fmt.Errorf("configuration %.100q: %w", s.Config, errNotHere)
	}
	id := digest.FromBytes(raw).String()
	if n := slices.IndexFunc(g.out, func(i Image) bool { return i.ID == id }); n >= 0 {
		for _, name := range s.RepoTags {
			if !slices.Contains(g.out[n].Names, name) {
				g.out[n].Names = append(g.out[n].Names, name)
			}
		}
		return nil
	}
	if len(g.out) >= imagesMax {
		return fmt.Errorf("%w: more than %d images", ErrLarge, imagesMax)
	}
	img, err := look(raw, len(s.Layers), func(n int) (*layer, error) { return a.layerAt(path.Clean("/" + s.Layers[n])) })
	if err != nil {
		return err
	}
	img.Names = s.RepoTags
	g.out = append(g.out, img)
	return nil
}

// follow returns what a link of the archive leads to.
func (a *archive) follow(name string) string {
	for range linksMax {
		to, ok := a.links[name]
		if !ok {
			break
		}
		name = to
	}
	return name
}

func (a *archive) layerAt(name string) (*layer, error) {
	name = a.follow(name)
	if l := a.layers[name]; l != nil {
		return l, nil
	}
	if err := a.broken[name]; err != nil {
		return nil, err
	}
	return nil, errNotHere
}

// blobFile is where an OCI layout keeps a blob; "" for what is no digest.
func blobFile(d digest.Digest) string {
	if d.Validate() != nil {
		return ""
	}
	return path.Join("/", oci.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

func (a *archive) document(d digest.Digest) ([]byte, error) {
	raw, ok := a.documents[a.follow(blobFile(d))]
	if !ok {
		return nil, errNotHere
	}
	return verified(raw, d)
}

func (a *archive) layer(d digest.Digest) (*layer, error) { return a.layerAt(blobFile(d)) }

func (a *archive) has(d digest.Digest) bool {
	_, ok := a.documents[a.follow(blobFile(d))]
	return ok
}

// verified returns a document that has the digest that it should have.
func verified(raw []byte, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%.100q: %w", strings.ToValidUTF8(string(d), "?"), err)
	}
	if d.Algorithm().FromBytes(raw) != d {
		return nil, errors.New("its content is another than its digest says")
	}
	return raw, nil
}
