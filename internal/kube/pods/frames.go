package pods

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sallyport/sallyport/internal/kube/api"
)

// frameMax bounds one entry of a watch. etcd keeps no object of more than
// 1.5 MiB unless told otherwise.
const frameMax = 16 << 20

// errDamaged says that an entry of a watch was not understood.
var errDamaged = errors.New("watch entry not understood")

// The kinds of change that a watch tells.
const (
	changeDeleted  = "DELETED"
	changeBookmark = "BOOKMARK"
	changeError    = "ERROR"
)

// change is one entry of a watch. Of a bookmark the pod has a version only.
type change struct {
	kind string
	pod  corev1.Pod
}

// frames reads a watch in protobuf: entries, each with its length in four bytes
// before it (k8s.io/apimachinery runtime/serializer/protobuf).
type frames struct {
	r   *bufio.Reader
	buf []byte
}

func newFrames(r io.Reader) *frames { return &frames{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next entry, io.EOF at the end, errDamaged, and errTooOld
// when the server says so.
func (f *frames) next() (change, error) {
	var size [4]byte
	if _, err := io.ReadFull(f.r, size[:]); err != nil {
		return change{}, end(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > frameMax {
		return change{}, fmt.Errorf("%w: %d bytes", errDamaged, n)
	}
	if uint32(cap(f.buf)) < n {
		f.buf = make([]byte, n)
	}
	if _, err := io.ReadFull(f.r, f.buf[:n]); err != nil {
		return change{}, end(err)
	}
	return decodeChange(f.buf[:n])
}

// end turns the end of a connection in the middle of an entry into its end.
func end(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func decodeChange(b []byte) (change, error) {
	var entry metav1.WatchEvent
	if err := entry.Unmarshal(b); err != nil {
		return change{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	raw, ok := api.Unwrap(entry.Object.Raw)
	if !ok {
		return change{}, fmt.Errorf("%w: %w", errDamaged, api.ErrForm)
	}
	if entry.Type == changeError {
		var status metav1.Status
		if status.Unmarshal(raw) == nil && status.Code != 0 && status.Code != 410 {
			return change{}, &api.StatusError{Code: int(status.Code), Message: status.Message}
		}
		return change{}, errTooOld
	}
	c := change{kind: entry.Type}
	if err := c.pod.Unmarshal(raw); err != nil {
		return change{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return c, nil
}
