package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
)

// Bounds of what is read of one source: bytes of layers before compression, entries
// of layers, bytes of their names, and a single name.
const (
	bytesMax   = 64 << 30
	entriesMax = 4 << 20
	namesMax   = 512 << 20
	nameMax    = 4096 // the kernel's PATH_MAX

	windowMax = 128 << 20 // of zstd: what its largest level takes
	passwdMax = 1 << 20
)

// ErrLarge says that a bound was met.
var ErrLarge = errors.New("larger than an image should be")

// errForm says that something is no layer.
var errForm = errors.New("no tar, and not compressed by gzip or zstd")

// budget is what may still be read of a source.
type budget struct{ bytes, entries, names int64 }

func newBudget() *budget { return &budget{bytesMax, entriesMax, namesMax} }

func (b *budget) entry(h *tar.Header) error {
	size := len(h.Name) + len(h.Linkname)
	if b.entries--; b.entries < 0 {
		return fmt.Errorf("%w: more than %d files", ErrLarge, entriesMax)
	}
	if b.names -= int64(size); b.names < 0 || len(h.Name) > nameMax || len(h.Linkname) > nameMax {
		return fmt.Errorf("%w: names of files", ErrLarge)
	}
	return nil
}

// layer is what of a layer decides what is in an image.
type layer struct {
	diffID  digest.Digest // of the tar without compression
	entries []entry       // as they come
}

// kind is what an entry of a layer is.
type kind uint8

const (
	other kind = iota // device, pipe, or a file that is empty
	file
	directory
	symlink
	hardlink
	whiteout // hides its name in the layers below
	opaque   // hides all that a directory has in the layers below
)

// entry is one entry of a layer.
type entry struct {
	name    string // clean, from the root
	kind    kind
	mode    int64
	capable bool   // has capabilities of its own
	link    string // of links, as written
	passwd  []byte // the content of /etc/passwd
}

// Names of entries that hide something (OCI image specification, layer.md).
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	metaPrefix     = ".wh..wh." // of aufs, and nothing to others
)

// The PAX record of a file's capabilities, as Docker, containerd and BuildKit write it.
const capabilityRecord = "SCHILY.xattr.security.capability"

// readLayer reads a layer to its end. It is one tar, as it is or compressed.
func readLayer(r io.Reader, b *budget) (*layer, error) {
	plain, err := decompress(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	sum := sha256.New()
	in := io.TeeReader(&gauge{plain, b}, sum)
	l := &layer{}
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		if err := b.entry(h); err != nil {
			return nil, err
		}
		e, ok, err := parseEntry(h)
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		if e.name == "/etc/passwd" && e.kind == file {
			if e.passwd, err = io.ReadAll(io.LimitReader(t, passwdMax)); err != nil {
				return nil, fmt.Errorf("read layer: %s: %w", e.name, err)
			}
		}
		if ok {
			l.entries = append(l.entries, e)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what is behind the end counts for the digest
		return nil, fmt.Errorf("read layer: %w", err)
	}
	l.diffID = digest.NewDigest(digest.SHA256, sum)
	return l, nil
}

// parseEntry returns what an entry is; false when it is nothing to us.
func parseEntry(h *tar.Header) (entry, bool, error) {
	e := entry{name: path.Clean("/" + h.Name), mode: h.Mode & 0o7777}
	if base := path.Base(e.name); strings.HasPrefix(base, whiteoutPrefix) {
		return hidden(e, base)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		e.capable = h.PAXRecords[capabilityRecord] != ""
		if e.kind = file; h.Size == 0 {
			e.kind = other // nothing to execute
		}
	case tar.TypeDir:
		e.kind = directory
	case tar.TypeSymlink:
		e.kind, e.link = symlink, h.Linkname
	case tar.TypeLink:
		e.kind, e.link = hardlink, h.Linkname
	case tar.TypeXGlobalHeader:
		return e, false, nil
	}
	if e.name == "/" && e.kind != directory {
		return e, false, fmt.Errorf("%q is no directory", h.Name)
	}
	return e, true, nil
}

// hidden returns an entry that hides something.
func hidden(e entry, base string) (entry, bool, error) {
	switch {
	case base == opaqueName:
		e.name, e.kind = path.Dir(e.name), opaque
		return e, true, nil
	case strings.HasPrefix(base, metaPrefix):
		return e, false, nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return e, false, fmt.Errorf("%q hides nothing that could be there", e.name)
	}
	e.name, e.kind = path.Join(path.Dir(e.name), name), whiteout
	return e, true, nil
}

// The first bytes of what layers are compressed with.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress returns the tar in r.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(tarBlock)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		return z, nil
	case bytes.HasPrefix(head, zstdMagic):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowMax))
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		return z.IOReadCloser(), nil
	case isTar(head):
		return io.NopCloser(r), nil
	}
	return nil, errForm
}

// tarBlock is the size of a tar's header.
const tarBlock = 512

// isTar reports whether something begins like a tar: with a header, or with the end
// of a tar that is empty.
func isTar(head []byte) bool {
	const magic = 257
	return len(head) == tarBlock && (string(head[magic:magic+5]) == "ustar" || len(bytes.Trim(head, "\x00")) == 0)
}

// isLayer reports whether something begins like a layer.
func isLayer(head []byte) bool {
	return bytes.HasPrefix(head, gzipMagic) || bytes.HasPrefix(head, zstdMagic) || isTar(head)
}

// gauge bounds how many bytes are read.
type gauge struct {
	from io.Reader
	*budget
}

// Read implements io.Reader.
func (g *gauge) Read(p []byte) (int, error) {
	if g.bytes <= 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrLarge, int64(bytesMax))
	}
	n, err := g.from.Read(p[:min(int64(len(p)), g.bytes)])
	g.bytes -= int64(n)
	return n, err
}
