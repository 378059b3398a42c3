package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Image is an image that containerd knows.
type Image struct {
	Namespace, Name string
	// Target is the digest of its manifest or index.
	Target string
}

// Images gives out the images of a containerd.
type Images struct{ conn *grpc.ClientConn }

// OpenImages prepares to ask the containerd behind a socket.
func OpenImages(socket string) (*Images, error) {
	conn, err := grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return nil, fmt.Errorf("open containerd %s: %w", socket, err)
	}
	return &Images{conn}, nil
}

// Close ends the connection.
func (i *Images) Close() error { return i.conn.Close() }

// List returns the images of all namespaces.
func (i *Images) List(ctx context.Context) ([]Image, error) {
	namespaces, err := allNamespaces(ctx, i.conn)
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, ns := range namespaces {
		call, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", ns), callTimeout)
		res, err := imagesapi.NewImagesClient(i.conn).List(call, &imagesapi.ListImagesRequest{})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("list images of namespace %s: %w", ns, err)
		}
		for _, img := range res.GetImages() {
			out = append(out, Image{Namespace: ns, Name: short(img.GetName()), Target: short(img.GetTarget().GetDigest())})
		}
	}
	return out, nil
}

// Content is the content store of a namespace.
type Content struct {
	images    *Images
	namespace string
}

// Content returns the content store of a namespace.
func (i *Images) Content(namespace string) *Content { return &Content{i, namespace} }

// Open returns a blob's content; an error that is fs.ErrNotExist when it is not there.
func (c *Content) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", c.namespace))
	stream, err := contentapi.NewContentClient(c.images.conn).Read(ctx, &contentapi.ReadContentRequest{Digest: digest})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	}
	b := &blob{stream: stream, cancel: cancel}
	if err := b.next(); err != nil && !errors.Is(err, io.EOF) { // whether it is there shows in the first piece
		cancel()
		if status.Code(err) == codes.NotFound {
			err = fs.ErrNotExist
		}
		return nil, fmt.Errorf("read blob %s: %w", digest, err)
	}
	return b, nil
}

// blob reads a blob piece by piece.
type blob struct {
	stream contentapi.Content_ReadClient
	cancel context.CancelFunc
	rest   []byte
	err    error
}

// next takes the next piece.
func (b *blob) next() error {
	if b.err != nil {
		return b.err
	}
	res, err := b.stream.Recv()
	b.rest, b.err = res.GetData(), err
	return err
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.cancel()
	return nil
}
