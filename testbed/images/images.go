// Package images makes container images from nothing, for tests: layers of a few files
// each, as `docker save` and as OCI layouts hold them.
package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is an entry of a layer.
type File struct {
	Name string
	Mode int64  // 0 is 0755
	Dir  bool   // a directory
	Link string // a symbolic link to this
	Hard string // a hard link to this
	Body string // "" is "x", unless Empty
	// Empty says that it has no content; Capable that it has capabilities of its own.
	Empty, Capable bool
}

// capabilities is a version 2 capability value: cap_net_raw=ep.
const capabilities = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Layer returns a layer with these files, in this order.
func Layer(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		body := f.Body
		if body == "" && !f.Empty {
			body = "x"
		}
		switch {
		case f.Dir:
			h.Typeflag, body = tar.TypeDir, ""
		case f.Link != "":
			h.Typeflag, h.Linkname, body = tar.TypeSymlink, f.Link, ""
		case f.Hard != "":
			h.Typeflag, h.Linkname, body = tar.TypeLink, f.Hard, ""
		}
		if f.Capable {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capabilities}
		}
		h.Size = int64(len(body))
		if err := errors.Join(w.WriteHeader(h), write(w, body)); err != nil {
			panic(err) // into memory
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func write(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}

// Compression is what a layer is compressed with.
type Compression string

// The compressions.
const (
	Plain Compression = ""
	Gzip  Compression = "+gzip"
	Zstd  Compression = "+zstd"
)

// Compress compresses a layer.
func Compress(layer []byte, with Compression) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch with {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Zstd:
		z, err := zstd.NewWriter(&b)
		if err != nil {
			panic(err)
		}
		w = z
	case Plain:
		return layer
	}
	if _, err := w.Write(layer); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Image is an image in the making.
type Image struct {
	Name   string // with its tag
	User   string
	Layers [][]byte // the lowest first, not compressed
	Cmd    []string
	// Compression is that of its layers in OCI layouts.
	Compression Compression
	OS, Arch    string // "" is linux, amd64
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Config returns its configuration.
func (i *Image) Config() []byte {
	c := oci.Image{
		Platform: oci.Platform{OS: or(i.OS, "linux"), Architecture: or(i.Arch, "amd64")},
		Config:   oci.ImageConfig{User: i.User, Cmd: i.Cmd, Env: []string{"PATH=/usr/bin:/bin"}},
		RootFS:   oci.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	for _, l := range i.Layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(l))
	}
	return marshal(c)
}

// ID is the digest of its configuration.
func (i *Image) ID() string { return digest.FromBytes(i.Config()).String() }

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Files are the files of an archive or directory by their names.
type Files map[string][]byte

func (f Files) blob(mediaType string, raw []byte) oci.Descriptor {
	d := digest.FromBytes(raw)
	f["blobs/sha256/"+d.Encoded()] = raw
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
}

// manifest adds an image's blobs and returns what an index says of it.
func (f Files) manifest(i *Image) oci.Descriptor {
	m := oci.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, Config: f.blob(oci.MediaTypeImageConfig, i.Config())}
	for _, l := range i.Layers {
		m.Layers = append(m.Layers, f.blob(oci.MediaTypeImageLayer+string(i.Compression), Compress(l, i.Compression)))
	}
	return f.blob(oci.MediaTypeImageManifest, marshal(m))
}

func (f Files) index(list []oci.Descriptor) []byte {
	return marshal(oci.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex, Manifests: list})
}

func (f Files) layout(list []oci.Descriptor) {
	f["index.json"] = f.index(list)
	f[oci.ImageLayoutFile] = marshal(oci.ImageLayout{Version: oci.ImageLayoutVersion})
}

// OCI returns the files of an OCI layout, and the digests of the images' manifests.
func OCI(list ...*Image) (Files, []string) {
	f := Files{}
	var all []oci.Descriptor
	var digests []string
	for _, i := range list {
		d := f.manifest(i)
		if i.Name != "" {
			d.Annotations = map[string]string{"io.containerd.image.name": i.Name}
		}
		all, digests = append(all, d), append(digests, d.Digest.String())
	}
	f.layout(all)
	return f, digests
}

// Platforms returns the files of an OCI layout with one name for the images of several
// platforms, with the attestation that BuildKit adds.
func Platforms(name string, list ...*Image) Files {
	f := Files{}
	var all []oci.Descriptor
	for _, i := range list {
		d := f.manifest(i)
		d.Platform = &oci.Platform{OS: or(i.OS, "linux"), Architecture: or(i.Arch, "amd64")}
		all = append(all, d)
	}
	attestation := f.blob(oci.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`))
	attestation.Platform = &oci.Platform{OS: "unknown", Architecture: "unknown"}
	d := f.blob(oci.MediaTypeImageIndex, f.index(append(all, attestation)))
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	f.layout([]oci.Descriptor{d})
	return f
}

// Saved returns the files of what `docker save` wrote before version 25.
func Saved(list ...*Image) Files {
	f := Files{}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var all []saved
	for _, i := range list {
		s := saved{Config: strings.TrimPrefix(i.ID(), "sha256:") + ".json", RepoTags: []string{i.Name}}
		f[s.Config] = i.Config()
		for _, l := range i.Layers {
			name := digest.FromBytes(l).Encoded() + "/layer.tar"
			f[name] = l
			s.Layers = append(s.Layers, name)
		}
		all = append(all, s)
	}
	f["manifest.json"] = marshal(all)
	return f
}

// Tar returns the files as an archive.
func (f Files) Tar() []byte {
	var list []File
	for name, body := range f {
		list = append(list, File{Name: name, Mode: 0o644, Body: string(body), Empty: len(body) == 0})
	}
	return Layer(list...)
}

// Write writes the files below a directory.
func (f Files) Write(dir string) error {
	for name, body := range f {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, body, 0o644)); err != nil {
			return err
		}
	}
	return nil
}
