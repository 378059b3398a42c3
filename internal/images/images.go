// Package images looks into container images: which shells, package managers and other
// tools a command would find in them.
//
// It reads images from archives (of `docker save`, or an OCI layout in a tar), from
// directories with an OCI layout, and from content stores. Nothing is unpacked and
// nothing run: a layer is read once, as a stream, and of it stays which files there
// are. What is in an image is told by the names and modes of its files alone. All of
// it is bounded, and every layer is held against the digest that the image's
// configuration has of it.
package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	digest "github.com/opencontainers/go-digest"
	oci "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Image is an image that was looked into.
type Image struct {
	// ID is the digest of its configuration. Digests are those of its manifest, and of
	// indexes that it is in, where it came with any.
	ID      string   `json:"id"`
	Digests []string `json:"digests,omitempty"`
	// Names are those that its source gives it.
	Names  []string         `json:"names,omitempty"`
	Inside inventory.Inside `json:"inside"`
}

// Bounds of an image's documents, and of how many images a source may have.
const (
	documentMax = 8 << 20
	imagesMax   = 1000
	layersMax   = 1000
	depthMax    = 4 // of indexes in indexes
)

// errNotHere says that a blob is not in a source. Of an image of several platforms
// often only one is.
var errNotHere = errors.New("not here")

// blobs are what an image consists of, by digest.
type blobs interface {
	document(d digest.Digest) ([]byte, error)
	layer(d digest.Digest) (*layer, error)
	has(d digest.Digest) bool
}

// The annotations by which an index names images, containerd's first.
const (
	annotationName = "io.containerd.image.name"
	annotationRef  = oci.AnnotationRefName
)

func namesOf(d *oci.Descriptor) []string {
	if name := d.Annotations[annotationName]; name != "" {
		return []string{name}
	}
	if name := d.Annotations[annotationRef]; name != "" {
		return []string{name}
	}
	return nil
}

// document is an index or a manifest: which one shows in what it has.
type document struct {
	Manifests []oci.Descriptor `json:"manifests"`
	Config    *oci.Descriptor  `json:"config"`
	Layers    []oci.Descriptor `json:"layers"`
}

// mediaConfigs are the types of an image's configuration; a manifest with another one is
// of something else, such as a signature.
var mediaConfigs = []string{oci.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json", ""}

// config is what of an image's configuration is of use.
type config struct {
	OS     string `json:"os"`
	Config struct {
		User string `json:"User"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// gather looks into the images that a document of a source leads to. digests and names
// are those of the documents above it.
type gather struct {
	from blobs
	out  []Image
}

func (g *gather) document(raw []byte, digests, names []string, depth int) error {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if d.Config != nil && len(d.Manifests) > 0 {
		return errors.New("manifest: it is an index, too")
	}
	if d.Config != nil {
		return g.manifest(&d, digests, names)
	}
	if depth > depthMax {
		return errors.New("index: too many indexes in each other")
	}
	if depth > 0 && isPlatforms(d.Manifests) {
		m, err := g.choose(d.Manifests)
		if err != nil {
			return err
		}
		return g.follow(m, digests, append(names, namesOf(m)...), depth)
	}
	var errs []error
	for i := range d.Manifests {
		m := &d.Manifests[i]
		if m.Platform != nil && m.Platform.OS != "linux" {
			continue // Windows, or no image at all: BuildKit's attestations are "unknown"
		}
		err := g.follow(m, digests, append(slices.Clone(names), namesOf(m)...), depth)
		if errors.Is(err, ErrLarge) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// follow reads what a descriptor of an index is about.
func (g *gather) follow(m *oci.Descriptor, digests, names []string, depth int) error {
	raw, err := g.from.document(m.Digest)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	return g.document(raw, append(slices.Clone(digests), string(m.Digest)), names, depth+1)
}

// isPlatforms reports whether an index lists one image for several platforms, and not
// several images.
func isPlatforms(list []oci.Descriptor) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(d oci.Descriptor) bool { return d.Platform == nil })
}

// choose takes the image for this machine's platform, or else the first for Linux, of
// those that are there.
func (g *gather) choose(list []oci.Descriptor) (*oci.Descriptor, error) {
	var found *oci.Descriptor
	for i := range list {
		d := &list[i]
		if d.Platform.OS != "linux" || !g.from.has(d.Digest) {
			continue
		}
		if found == nil || d.Platform.Architecture == runtime.GOARCH && found.Platform.Architecture != runtime.GOARCH {
			found = d
		}
	}
	if found == nil {
		return nil, fmt.Errorf("an image for Linux is %w", errNotHere)
	}
	return found, nil
}

func (g *gather) manifest(d *document, digests, names []string) error {
	if !slices.Contains(mediaConfigs, d.Config.MediaType) {
		return nil
	}
	if len(g.out) >= imagesMax {
		return fmt.Errorf("%w: more than %d images", ErrLarge, imagesMax)
	}
	raw, err := g.from.document(d.Config.Digest)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", d.Config.Digest, err)
	}
	img, err := look(raw, len(d.Layers), func(n int) (*layer, error) { return g.from.layer(d.Layers[n].Digest) })
	if err != nil {
		return err
	}
	img.Digests, img.Names = digests, names
	g.out = append(g.out, img)
	return nil
}

// look looks into the image with this configuration and so many layers.
func look(raw []byte, count int, layerOf func(n int) (*layer, error)) (Image, error) {
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return Image{}, fmt.Errorf("configuration: %w", err)
	}
	id := digest.FromBytes(raw).String()
	if c.OS != "" && c.OS != "linux" {
		return Image{}, fmt.Errorf("image %s is for %.20q: only those for Linux are understood", id, c.OS)
	}
	if count != len(c.RootFS.DiffIDs) || count > layersMax {
		return Image{}, fmt.Errorf("image %s has %d layers, and %d in its configuration", id, count, len(c.RootFS.DiffIDs))
	}
	layers := make([]*layer, count)
	for n := range layers {
		l, err := layerOf(n)
		if err != nil {
			return Image{}, fmt.Errorf("image %s: layer %d: %w", id, n+1, err)
		}
		if l.diffID != c.RootFS.DiffIDs[n] {
			return Image{}, fmt.Errorf("image %s: layer %d is not the one that its configuration names: %s", id, n+1, l.diffID)
		}
		layers[n] = l
	}
	in, err := inside(layers, c.Config.User)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", id, err)
	}
	in.Image = id
	return Image{ID: id, Inside: in}, nil
}
