package containerd

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/internal/core/event"
)

// recorded returns what ctr said; see TestRecord.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pieces cuts a connection's bytes from offset on into pieces of at most n.
func pieces(b []byte, from, n int) []event.Segment {
	var out []event.Segment
	for at := from; at < len(b); at += n {
		data := b[at:min(at+n, len(b))]
		out = append(out, segment(data, at))
	}
	return out
}

func segment(data []byte, at int) event.Segment {
	return event.Segment{
		Head: event.Header{Time: time.Unix(1, 0), Witness: event.WitnessKernel}, Service: event.ServiceContainerd,
		Conn: 7, Whole: true, Offset: uint64(at), Length: uint32(len(data)), Data: data,
	}
}

func requestsIn(r *Requests, segs ...event.Segment) []event.RuntimeRequest {
	var out []event.RuntimeRequest
	for _, s := range segs {
		for _, o := range r.Segment(s) {
			out = append(out, o.(event.RuntimeRequest))
		}
	}
	return out
}

// brief is what of a request the tests compare.
func brief(rs []event.RuntimeRequest) []string {
	var out []string
	for _, r := range rs {
		s := []string{string(r.API), string(r.Op), r.Namespace, string(r.Container + r.Sandbox), string(r.ExecID), strings.Join(r.Argv, " ")}
		if r.Cut {
			s = append(s, "cut")
		}
		if !r.Certain {
			s = append(s, "doubtful")
		}
		out = append(out, strings.Join(s, "|"))
	}
	return out
}

var conversations = map[string][]string{
	"ctr-run": {
		"containerd|create_container|default|job1||/bin/busybox sleep 1000",
		"containerd|create_task|default|job1||",
		"containerd|start|default|job1||",
	},
	"ctr-exec": {
		"containerd|exec|default|job1|mine|/bin/busybox echo hello",
		"containerd|start|default|job1|mine|",
	},
}

// However the bytes are cut into pieces, they say the same.
func TestRecorded(t *testing.T) {
	for name, want := range conversations {
		b := recorded(t, name)
		for n := 1; n <= len(b); n += 1 + n/3 {
			r := NewRequests(RequestOptions{})
			got := requestsIn(r, pieces(b, 0, n)...)
			if diff := cmp.Diff(want, brief(got)); diff != "" {
				t.Fatalf("%s in pieces of %d: %s", name, n, diff)
			}
			if got[0].UserAgent == "" {
				t.Errorf("no user agent: %+v", got[0])
			}
			r.Forget(7)
			if r.memory.Held() != 0 || r.conns.Len() != 0 {
				t.Errorf("holds %d bytes", r.memory.Held())
			}
		}
	}
}

// speaker writes what a gRPC client would.
type speaker struct {
	bytes.Buffer
	hpack *hpack.Encoder
	block bytes.Buffer
	next  uint32
}

func newSpeaker() *speaker {
	s := &speaker{next: 1}
	s.hpack = hpack.NewEncoder(&s.block)
	s.WriteString(preface)
	s.frame(frameSettings, 0, 0, nil)
	return s
}

func (s *speaker) frame(kind frameKind, flags uint8, stream uint32, body []byte) {
	head := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), byte(kind), flags}
	s.Write(binary.BigEndian.AppendUint32(head, stream))
	s.Write(body)
}

// headers opens a stream and returns its number.
func (s *speaker) headers(path string) uint32 {
	s.block.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"user-agent", "speaker"}, {"te", "trailers"}, {"containerd-namespace", "k8s.io"},
	} {
		s.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	id := s.next
	s.next += 2
	s.frame(frameHeaders, flagEndHeaders, id, s.block.Bytes())
	return id
}

func (s *speaker) message(id uint32, m []byte) {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m)))
	s.frame(frameData, flagEndStream, id, append(b, m...))
}

func (s *speaker) call(path string, m []byte) { s.message(s.headers(path), m) }

type message []byte

func (m message) text(n protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, n, protowire.BytesType), s)
}

func (m message) number(n protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

var criID = strings.Repeat("ab", 32)

func TestCRI(t *testing.T) {
	s := newSpeaker()
	s.call(criService+"Version", nil)
	s.call(criService+"ExecSync", message{}.text(1, criID).text(2, "cat").text(2, "").text(2, "/etc/passwd").number(3, 5))
	s.call("/runtime.v1alpha2.RuntimeService/Exec", message{}.text(1, criID[:10]).text(2, "sh").number(3, 1).number(4, 1).number(5, 1))
	s.call(criService+"Attach", message{}.text(1, criID).number(2, 1))
	s.call(criService+"PortForward", message{}.text(1, criID).text(2, "\x50\xbb\x03").number(2, 9000))
	s.call(criService+"CreateContainer", message{}.text(1, criID).text(2, string(message{}.text(3, "/bin/a").text(4, "b").number(14, 1))))
	s.call(criService+"StartContainer", message{}.text(1, criID))
	r := NewRequests(RequestOptions{})
	got := requestsIn(r, pieces(s.Bytes(), 0, 100)...)
	want := []string{
		"cri|exec_sync||" + criID + "||cat  /etc/passwd", "cri|exec_stream||" + criID[:10] + "||sh", "cri|attach||" + criID + "||",
		"cri|port_forward||" + criID + "||", "cri|create_container||" + criID + "||/bin/a b", "cri|start||" + criID + "||",
	}
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Fatal(diff)
	}
	if got[0].Timeout == nil || *got[0].Timeout != 5 || !got[1].TTY || !got[1].Stdin || !got[2].Stdin ||
		!slices.Equal(got[3].Ports, []int32{80, 443, 9000}) || !got[4].TTY {
		t.Errorf("%+v", got)
	}
}

// A connection that was there before us: header fields that were agreed on
// before are unknown, those that come from now on are not.
func TestFoundInTheMiddle(t *testing.T) {
	s := newSpeaker()
	execSync := message{}.text(1, criID).text(2, "cat").text(2, "/etc/passwd").number(3, 5)
	for range 50 {
		s.call(criService+"ListContainers", nil)
		s.call(criService+"ExecSync", execSync)
	}
	var segs []event.Segment
	var at int
	say := func(path string, m []byte) {
		at = s.Len()
		s.call(path, m)
		seg := segment(bytes.Clone(s.Bytes()[at:]), at)
		seg.Whole = false
		segs = append(segs, seg)
	}
	say(criService+"ExecSync", execSync)                                        // method unknown, message plain
	say(criService+"ListContainers", message{}.text(1, criID).text(2, "cat"))   // no timeout: not told from others
	say(criService+"Exec", message{}.text(1, criID).text(2, "id").number(6, 1)) // its method is new
	say(criService+"StartContainer", message{}.text(1, criID))
	say(criService+"StartContainer", message{}.text(1, criID))
	start := "cri|start||" + criID + "|||doubtful"
	want := []string{"cri|exec_sync||" + criID + "||cat /etc/passwd|doubtful", "cri|exec_stream||" + criID + "||id|doubtful", start, start}
	got := requestsIn(NewRequests(RequestOptions{}), segs...)
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Error(diff)
	}
	// A client whose message is not ready yet writes the headers alone.
	var halves []event.Segment
	for _, seg := range segs {
		f, _ := parseFrame(seg.Data)
		head, message := seg, seg
		head.Data, message.Data = seg.Data[:frameHead+f.length], seg.Data[frameHead+f.length:]
		head.Length, message.Length = uint32(len(head.Data)), uint32(len(message.Data))
		message.Offset += uint64(head.Length)
		halves = append(halves, head, message)
	}
	got = requestsIn(NewRequests(RequestOptions{}), halves...)
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Error("headers alone:", diff)
	}
}

// Where the middle of a message was not sampled the frames are followed, where
// the header of a frame was not they are not.
func TestGaps(t *testing.T) {
	s := newSpeaker()
	s.call("/containerd.services.content.v1.Content/Write", bytes.Repeat([]byte{1}, 16000))
	whole := s.Len()
	id := s.headers("/containerd.services.tasks.v1.Tasks/Exec")
	body := s.Len()
	s.message(id, message{}.text(1, "job1").text(6, strings.Repeat("x", 9000)).text(7, "mine"))
	s.call("/containerd.services.tasks.v1.Tasks/Start", message{}.text(1, "job1").text(2, "mine"))
	b := s.Bytes()
	r := NewRequests(RequestOptions{})
	got := requestsIn(r, segment(b[:1000], 0), segment(b[whole:body+100], whole), segment(b[body+9000:], body+9000))
	want := []string{"containerd|exec|k8s.io|job1|||cut", "containerd|start|k8s.io|job1|mine|"}
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Error(diff)
	}
	r = NewRequests(RequestOptions{})
	got = requestsIn(r, segment(b[:1000], 0), segment(b[whole+20:body+9], whole+20), segment(b[body+100:], body+100))
	if diff := cmp.Diff([]string{"containerd|other|||||doubtful"}, brief(got)); diff != "" || r.Stats().Lost != 1 {
		t.Error(diff, r.Stats())
	}
}

// Frames that a client may send in other forms than gRPC's libraries do.
func TestForms(t *testing.T) {
	s := newSpeaker()
	s.block.Reset()
	s.hpack.WriteField(hpack.HeaderField{Name: ":path", Value: "/containerd.services.tasks.v1.Tasks/Start"})
	h := bytes.Clone(s.block.Bytes())
	s.frame(0x77, 0xff, 0x80000000, []byte("an unknown kind is passed over"))
	s.frame(frameHeaders, flagPadded|flagPriority, 1, slices.Concat([]byte{3, 0, 0, 0, 0, 9}, h[:5], []byte{0, 0, 0}))
	s.frame(frameContinuation, 0, 1, h[5:9])
	s.frame(frameContinuation, flagEndHeaders, 1, h[9:])
	m := message{}.text(1, "job1").text(2, "mine")
	m = append([]byte{0, 0, 0, 0, byte(len(m))}, m...)
	s.frame(frameData, flagPadded, 1, slices.Concat([]byte{2}, m[:3], []byte{9, 9}))
	s.frame(frameData, flagEndStream, 1, m[3:])
	got := requestsIn(NewRequests(RequestOptions{}), pieces(s.Bytes(), 0, 30)...)
	if diff := cmp.Diff([]string{"containerd|start||job1|mine|"}, brief(got)); diff != "" {
		t.Error(diff)
	}
}

// TestBounds holds many unfinished requests against the bounds.
func TestBounds(t *testing.T) {
	r := NewRequests(RequestOptions{Conns: 3, Memory: 10 << 10})
	for conn := range 6 {
		s := newSpeaker()
		for range 4 {
			id := s.headers("/containerd.services.tasks.v1.Tasks/Exec")
			s.frame(frameData, 0, id, append([]byte{0, 0, 0, 0xff, 0xff}, make([]byte, 900)...))
		}
		for _, seg := range pieces(s.Bytes(), 0, 500) {
			seg.Conn = event.ConnID(conn + 1)
			r.Segment(seg)
			if r.memory.Held() > r.memory.Limit || r.conns.Len() > 3 {
				t.Fatalf("holds %d bytes of %d connections", r.memory.Held(), r.conns.Len())
			}
		}
	}
	if r.Stats().Evicted != 3 {
		t.Errorf("%+v", r.Stats())
	}
}
