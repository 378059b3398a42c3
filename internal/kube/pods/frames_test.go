package pods

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sallyport/sallyport/internal/kube/api"
)

// wrap puts a message into Kubernetes' protobuf form.
func wrap(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Any"}, Raw: raw}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("k8s\x00"), b...)
}

// entryOf returns an entry of a watch, with its length before it.
func entryOf(t testing.TB, kind string, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: wrap(t, m)}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func TestFrames(t *testing.T) {
	mark := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "77"}}
	stream := bytes.Join([][]byte{entryOf(t, "ADDED", synthetic(1)), entryOf(t, changeDeleted, synthetic(2)), entryOf(t, changeBookmark, mark)}, nil)
	f := newFrames(bytes.NewReader(append(stream, 0, 0, 0, 9, 1))) // and a part of one
	for _, want := range []struct{ kind, name, version string }{
		{"ADDED", synthetic(1).Name, "2"}, {changeDeleted, synthetic(2).Name, "3"}, {changeBookmark, "", "77"},
	} {
		c, err := f.next()
		if err != nil || c.kind != want.kind || c.pod.Name != want.name || c.pod.ResourceVersion != want.version {
			t.Errorf("%+v: %s %s %s, %v", want, c.kind, c.pod.Name, c.pod.ResourceVersion, err)
		}
	}
	if _, err := f.next(); !errors.Is(err, io.EOF) {
		t.Errorf("half an entry: %v", err)
	}
}

func TestFramesSayWhatIsWrong(t *testing.T) {
	gone := &metav1.Status{Code: 410, Message: "too old"}
	busy := &metav1.Status{Code: 500, Message: "no"}
	for name, tc := range map[string]struct {
		stream []byte
		want   func(error) bool
	}{
		"too old":  {entryOf(t, changeError, gone), func(err error) bool { return errors.Is(err, errTooOld) }},
		"an error": {entryOf(t, changeError, busy), func(err error) bool { return api.IsStatus(err, 500) }},
		"too long": {[]byte{255, 255, 255, 255}, func(err error) bool { return errors.Is(err, errDamaged) }},
		"rubbish":  {[]byte{0, 0, 0, 2, 255, 255}, func(err error) bool { return errors.Is(err, errDamaged) }},
		"no form":  {[]byte{0, 0, 0, 0}, func(err error) bool { return errors.Is(err, errDamaged) }},
	} {
		if _, err := newFrames(bytes.NewReader(tc.stream)).next(); !tc.want(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzFrames reads whatever is sent to its end.
func FuzzFrames(f *testing.F) {
	f.Add(entryOf(f, "ADDED", synthetic(1)))
	f.Add(entryOf(f, changeError, &metav1.Status{Code: 410}))
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrames(bytes.NewReader(b))
		for {
			c, err := r.next()
			if err != nil {
				return
			}
			o := newSharer().describe(noon, &c.pod)
			newIndex().put(&o)
		}
	})
}
