package scan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
)

// fill sets every field of a value, so that none can be forgotten on the way.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(*n), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString(strings.Repeat("x", *n%7+1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8: // an Answer
		v.SetUint(uint64(*n%2 + 1))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic(v.Type().String() + " is not filled")
	}
}

func full() *inventory.Inventory {
	var i inventory.Inventory
	n := 0
	fill(reflect.ValueOf(&i).Elem(), &n)
	return &i
}

func write(t testing.TB, i *inventory.Inventory) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := scan.Write(&b, i, "test", []string{"nothing"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for name, want := range map[string]*inventory.Inventory{
		"all there is": full(), "nothing": {}, "an empty cluster": {Cluster: &inventory.Cluster{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := write(t, want)
			if !scan.Is(b) {
				t.Error("it does not look like a snapshot")
			}
			got, h, err := scan.Read(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
			if h.Made != "test" || h.Version != scan.Version || len(h.Redacted) != 1 {
				t.Errorf("header %+v", h)
			}
		})
	}
}

func TestWriteLeavesTheInventory(t *testing.T) {
	i := full()
	write(t, i)
	if diff := cmp.Diff(full(), i); diff != "" {
		t.Errorf("writing changed it:\n%s", diff)
	}
}

// TestCutShort cuts a snapshot everywhere, before and after compression.
func TestCutShort(t *testing.T) {
	whole := write(t, full())
	for n := range whole {
		if _, _, err := scan.Read(bytes.NewReader(whole[:n])); err == nil {
			t.Fatalf("%d of %d bytes read as a whole snapshot", n, len(whole))
		}
	}
	lines := bytes.SplitAfter(unpack(t, whole), []byte("\n"))
	for n := range len(lines) - 1 {
		_, _, err := scan.Read(bytes.NewReader(pack(t, bytes.Join(lines[:n], nil))))
		if !errors.Is(err, scan.ErrShort) {
			t.Errorf("%d lines: %v, want ErrShort", n, err)
		}
	}
	missing := append(append([]byte{}, bytes.Join(lines[:3], nil)...), bytes.Join(lines[4:], nil)...)
	if _, _, err := scan.Read(bytes.NewReader(pack(t, missing))); !errors.Is(err, scan.ErrShort) {
		t.Errorf("without a record: %v, want ErrShort", err)
	}
}

func TestStrangeSnapshots(t *testing.T) {
	text := string(unpack(t, write(t, full())))
	for name, c := range map[string]struct {
		text string
		want error
		says string
	}{
		"another version":   {strings.Replace(text, `"version":2`, `"version":1`, 1), scan.ErrVersion, "its form is 1"},
		"an unknown field":  {strings.Replace(text, `{"pod":{`, `{"pod":{"soul":1,`, 1), nil, "soul"},
		"an unknown record": {strings.Replace(text, `{"pod":`, `{"ghost":`, 1), nil, "ghost"},
		"something else":    {`{"a":1}`, scan.ErrForm, ""},
		"no JSON":           {"hello", scan.ErrForm, ""},
		"more than its end": {text + "{}\n", scan.ErrForm, "follows"},
		"no inventory":      {strings.Replace(text, `{"inventory":`, `{"pod":{"name":"x","containers":[]}}`+"\n"+`{"inventory":`, 1), scan.ErrForm, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := scan.Read(bytes.NewReader(pack(t, []byte(c.text))))
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %v that says %q", err, c.want, c.says)
			}
		})
	}
	damaged := write(t, full())
	damaged[len(damaged)/2] ^= 0x55
	if _, _, err := scan.Read(bytes.NewReader(damaged)); err == nil {
		t.Error("a damaged snapshot reads")
	}
}

func TestRedact(t *testing.T) {
	i := full()
	i.Cluster.Pods[0].Containers[0].Image = "registry.example/secret-project"
	i.Cluster.Policies[0].Expressions = []string{"object.secret-project"}
	i.Cluster.Pods[1].UID = "secret-project"
	i.Hosts[0].Running[0].Image = "secret-project"
	if what := scan.Redact(i); len(what) == 0 {
		t.Error("it does not say what it took")
	}
	b, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("secret-project")) {
		t.Errorf("it is still there: %s", b)
	}
	if i.Cluster.Pods[0].Name == "" || i.Cluster.Pods[0].ServiceAccount == "" {
		t.Error("names are the answer, and must stay")
	}
}

func unpack(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out, err := z.DecodeAll(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func pack(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(b, nil)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"format":"sallyport scan","version":2}` + "\n" + `{"inventory":{"time":"2026-01-01T00:00:00Z","cluster":{"version":{"major":1,"minor":37}}}}` + "\n" + `{"pod":{"name":"p","containers":[]}}` + "\n" + `{"end":{"records":2}}` + "\n"))
	f.Add([]byte(`{"format":"sallyport scan","version":9}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, _, err := scan.Read(bytes.NewReader(pack(t, text)))
		if (i == nil) == (err == nil) {
			t.Fatalf("inventory %v with error %v", i, err)
		}
		if err != nil {
			return
		}
		again, _, err := scan.Read(bytes.NewReader(write(t, i)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(i, again); diff != "" {
			t.Errorf("read back differs:\n%s", diff)
		}
	})
}
