// Package scan keeps what a scan looks at in a file, so that it can be looked at
// again, elsewhere or later, and compared.
//
// A snapshot is one zstd stream of JSON values, one to a line: a header, the
// inventory without its long lists, their items, and an end that counts them. A file
// that was cut short has no end, and is refused. There are no secrets in it, but the
// names of all who may do something, and of where: keep it as you would keep those.
package scan

import (
	"cmp"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Version is the version of the form of snapshots. It changes whenever a reader of
// the version before would miss something.
const Version = 2

// format begins a snapshot.
const format = "sallyport scan"

// Bounds of a snapshot that is read: one value of it, and all of it, in bytes
// before compression.
const (
	valueMax    = 64 << 20
	snapshotMax = 4 << 30
)

// window is how far back a snapshot's compression refers, in bytes: whoever reads it has to
// keep as much.
const window = 512 << 10

// Header says what a file is.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Made    string `json:"made,omitempty"` // by which version of Sallyport
	// Redacted lists what was left out on purpose.
	Redacted []string `json:"redacted,omitempty"`
	// Items is how long the long lists are, for a reader to make room.
	Items Items `json:"items,omitzero"`
}

// Items is how many items of each of the long lists there are.
type Items struct {
	ServiceAccounts int `json:"service_accounts,omitempty"`
	Roles           int `json:"roles,omitempty"`
	Bindings        int `json:"bindings,omitempty"`
	Pods            int `json:"pods,omitempty"`
	Workloads       int `json:"workloads,omitempty"`
}

// record is one line after the header. One of its fields is set.
type record struct {
	Inventory      *inventory.Inventory      `json:"inventory,omitempty"`
	ServiceAccount *inventory.ServiceAccount `json:"service_account,omitempty"`
	Role           *inventory.Role           `json:"role,omitempty"`
	Binding        *inventory.Binding        `json:"binding,omitempty"`
	Pod            *inventory.Pod            `json:"pod,omitempty"`
	Workload       *inventory.Workload       `json:"workload,omitempty"`
	End            *end                      `json:"end,omitempty"`
}

// end counts the records before it.
type end struct {
	Records int `json:"records"`
}

// Is reports whether a file that begins with these bytes, at least four, may be a
// snapshot: whether it is compressed with zstd.
func Is(beginning []byte) bool {
	return len(beginning) >= 4 && string(beginning[:4]) == "\x28\xb5\x2f\xfd"
}

// Write writes a snapshot. made is the version of Sallyport, redacted what Redact
// said.
func Write(w io.Writer, i *inventory.Inventory, made string, redacted []string) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	out := &writer{to: jsonv1.NewEncoder(z)}
	h := Header{Format: format, Version: Version, Made: made, Redacted: redacted}
	if c := i.Cluster; c != nil {
		h.Items = Items{len(c.ServiceAccounts), len(c.Roles), len(c.Bindings), len(c.Pods), len(c.Workloads)}
	}
	out.err = out.to.Encode(h)
	out.inventory(i)
	out.record(record{End: &end{out.n}})
	if err := errors.Join(out.err, z.Close()); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// writer keeps the first error.
type writer struct {
	to  *jsonv1.Encoder
	n   int
	err error
}

func (w *writer) record(r record) {
	if w.err == nil {
		w.err = w.to.Encode(r)
		w.n++
	}
}

// inventory writes the long lists by themselves: the rest, whatever belongs to it,
// is one record.
func (w *writer) inventory(i *inventory.Inventory) {
	rest := *i
	var c inventory.Cluster
	if i.Cluster != nil {
		c = *i.Cluster
		short := c
		short.ServiceAccounts, short.Roles, short.Bindings, short.Pods, short.Workloads = nil, nil, nil, nil, nil
		rest.Cluster = &short
	}
	w.record(record{Inventory: &rest})
	for k := range c.ServiceAccounts {
		w.record(record{ServiceAccount: &c.ServiceAccounts[k]})
	}
	for k := range c.Roles {
		w.record(record{Role: &c.Roles[k]})
	}
	for k := range c.Bindings {
		w.record(record{Binding: &c.Bindings[k]})
	}
	for k := range c.Pods {
		w.record(record{Pod: &c.Pods[k]})
	}
	for k := range c.Workloads {
		w.record(record{Workload: &c.Workloads[k]})
	}
}

// The errors of Read.
var (
	ErrForm    = errors.New("not a snapshot of `sallyport scan collect`")
	ErrVersion = errors.New("made by another version of Sallyport")
	ErrShort   = errors.New("cut short: take it again, or copy it again")
)

// Read reads a snapshot, all of it or nothing. What it does not know is an error:
// a scan that silently missed something would be wrong.
func Read(r io.Reader) (*inventory.Inventory, Header, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, Header{}, fmt.Errorf("read snapshot: %w", err)
	}
	defer z.Close()
	in := &reader{gauge: &gauge{in: z, all: snapshotMax}}
	in.from = jsontext.NewDecoder(in.gauge)
	h, err := in.header()
	if err != nil {
		return nil, h, fmt.Errorf("read snapshot: %w", err)
	}
	i, err := in.all(&h.Items)
	if err != nil {
		return nil, h, fmt.Errorf("read snapshot: %w", err)
	}
	return i, h, nil
}

type reader struct {
	gauge *gauge
	from  *jsontext.Decoder
}

// short says of an error that is the end of the file that more should have come.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrShort
	}
	return err
}

func (r *reader) header() (Header, error) {
	r.gauge.one = valueMax
	raw, err := r.from.ReadValue()
	if err = short(err); err != nil {
		if errors.Is(err, ErrShort) {
			return Header{}, err
		}
		return Header{}, fmt.Errorf("%w: %w", ErrForm, err)
	}
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil || h.Format != format {
		return Header{}, ErrForm
	}
	if h.Version != Version {
		return h, fmt.Errorf("%w (%.40q): its form is %d, and this one reads %d", ErrVersion, h.Made, h.Version, Version)
	}
	return h, nil
}

// all reads what follows the header, with room for so many items.
func (r *reader) all(room *Items) (*inventory.Inventory, error) {
	var i *inventory.Inventory
	for n := 0; ; n++ {
		last, err := r.record(&i)
		switch {
		case err != nil:
			return nil, short(err)
		case n == 0 && i.Cluster != nil:
			room.make(i.Cluster)
		case last == nil:
		case last.Records != n:
			return nil, fmt.Errorf("%w: %d of %d records", ErrShort, n, last.Records)
		default:
			return i, r.close()
		}
	}
}

// roomMax bounds the room that is made because a file says so. Lists may be longer.
const roomMax = 1 << 17

// make makes room for items: a list that grows is copied several times.
func (n *Items) make(c *inventory.Cluster) {
	c.ServiceAccounts = grow(c.ServiceAccounts, n.ServiceAccounts)
	c.Roles, c.Bindings = grow(c.Roles, n.Roles), grow(c.Bindings, n.Bindings)
	c.Pods, c.Workloads = grow(c.Pods, n.Pods), grow(c.Workloads, n.Workloads)
}

func grow[T any](list []T, n int) []T { return slices.Grow(list, min(max(n, 0), roomMax)) }

// record reads one record: the inventory first, items of its cluster then, and an end, which
// it returns.
func (r *reader) record(i **inventory.Inventory) (last *end, err error) {
	r.gauge.one = valueMax
	if t, err := r.from.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return nil, cmp.Or(err, ErrForm)
	}
	key, err := r.from.ReadToken()
	if err != nil {
		return nil, err
	}
	switch key := key.String(); {
	case (key == "inventory") != (*i == nil):
		return nil, ErrForm
	case key == "inventory":
		err = r.value(i)
	case key == "end":
		err = r.value(&last)
	case (*i).Cluster == nil:
		return nil, ErrForm
	default:
		err = r.item((*i).Cluster, key)
	}
	if err != nil {
		return nil, err
	}
	if t, err := r.from.ReadToken(); err != nil || t.Kind() != jsontext.KindEndObject {
		return nil, cmp.Or(err, ErrForm)
	}
	return last, nil
}

// value reads a value into v.
func (r *reader) value(v any) error {
	if r.from.PeekKind() == jsontext.KindNull {
		return ErrForm
	}
	return json.UnmarshalDecode(r.from, v, json.RejectUnknownMembers(true))
}

// close demands that nothing follows, and that the checksum holds.
func (r *reader) close() error {
	switch _, err := r.from.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	return fmt.Errorf("%w: something follows its end", ErrForm)
}

// item reads an item of the list that a key is for.
func (r *reader) item(c *inventory.Cluster, key string) error {
	switch key {
	case "service_account":
		return r.value(next(&c.ServiceAccounts))
	case "role":
		return r.value(next(&c.Roles))
	case "binding":
		return r.value(next(&c.Bindings))
	case "pod":
		return r.value(next(&c.Pods))
	case "workload":
		return r.value(next(&c.Workloads))
	}
	return fmt.Errorf("%w: a record of %.40q", ErrForm, key)
}

// next returns a new item of a list.
func next[T any](list *[]T) *T {
	*list = append(*list, *new(T))
	return &(*list)[len(*list)-1]
}

// gauge bounds how much is read, for one value and in all.
type gauge struct {
	in       io.Reader
	one, all int64
}

var errLarge = errors.New("larger than any snapshot should be")

// Read implements io.Reader.
func (g *gauge) Read(p []byte) (int, error) {
	room := min(g.one, g.all)
	if room <= 0 {
		return 0, errLarge
	}
	n, err := g.in.Read(p[:min(int64(len(p)), room)])
	g.one -= int64(n)
	g.all -= int64(n)
	return n, err
}

// Redact takes out of an inventory what an answer does not need: the names of
// images, what is in them, the uids of pods, and the expressions of admission
// policies. Names of people, pods and namespaces are the answer, and stay. It
// returns what it took, for the snapshot to say.
func Redact(i *inventory.Inventory) []string {
	if c := i.Cluster; c != nil {
		for k := range c.Pods {
			c.Pods[k].UID = ""
			redactImages(c.Pods[k].Containers)
		}
		for k := range c.Workloads {
			redactImages(c.Workloads[k].Containers)
		}
		for k := range c.Policies {
			c.Policies[k].Expressions = nil
		}
	}
	for h := range i.Hosts {
		for k := range i.Hosts[h].Running {
			redactImage(&i.Hosts[h].Running[k].Container)
		}
	}
	return []string{"images", "contents of images", "pod uids", "expressions of admission policies"}
}

func redactImages(list []inventory.Container) {
	for i := range list {
		redactImage(&list[i])
	}
}

func redactImage(c *inventory.Container) { c.Image, c.ImageID, c.Inside = "", "", nil }
