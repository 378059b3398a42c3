package event

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostAccessIsTidy(t *testing.T) {
	h := HostAccess{
		Namespaces: []string{"pid", "network", "pid"}, Capabilities: []string{"CAP_SYS_ADMIN", "net_raw", "all"},
		Devices: []string{}, Paths: []string{"/srv/../", "/", "/etc/"},
	}
	h.Tidy()
	want := HostAccess{
		Namespaces: []string{"network", "pid"}, Capabilities: []string{"ALL", "NET_RAW", "SYS_ADMIN"}, Paths: []string{"/", "/etc"},
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
	long := HostAccess{Paths: []string{"/" + strings.Repeat("a", accessText), "/b"}}
	if long.Tidy(); !long.Partial || !slices.Equal(long.Paths, []string{"/b"}) {
		t.Errorf("too long a path: %+v", long)
	}
	for range accessEntries + 1 {
		long.Devices = append(long.Devices, "/dev/"+strings.Repeat("x", len(long.Devices)+1))
	}
	if long.Partial = false; len(long.Devices) != accessEntries+1 {
		t.Fatal(len(long.Devices))
	}
	if long.Tidy(); !long.Partial || len(long.Devices) != accessEntries {
		t.Errorf("%d devices, partial %v", len(long.Devices), long.Partial)
	}
}

func TestHostAccessOfObjects(t *testing.T) {
	plain := &HostAccess{}
	o := &KubeObject{HostAccess: &HostAccess{Namespaces: []string{"pid"}, Partial: true}, Containers: []KubeContainer{
		{Name: "a", HostAccess: &HostAccess{Privileged: true, Paths: []string{"/"}}}, {Name: "b", HostAccess: plain}, {Name: "c"},
	}}
	want := &HostAccess{Privileged: true, Namespaces: []string{"pid"}, Paths: []string{"/"}, Partial: true}
	if d := cmp.Diff(want, o.Access()); d != "" {
		t.Error(d)
	}
	if (&KubeObject{}).Access() != nil || (*KubeObject)(nil).AccessOf("a") != nil {
		t.Error("an object that says nothing says something")
	}
	if o.AccessOf("b") != plain || o.AccessOf("c") != nil || o.AccessOf("") != nil || o.AccessOf("d") != nil {
		t.Error("of one container something else is said")
	}
	if AccessIn(o.Containers[1:2], "") != plain {
		t.Error("the only container is not the one that is meant")
	}
	if k := o.Container("b"); k != &o.Containers[1] || o.Container("d") != nil || (*KubeObject)(nil).Container("a") != nil {
		t.Errorf("of container b there is %+v", k)
	}
	if !plain.Plain() || !(*HostAccess)(nil).Plain() || want.Plain() {
		t.Error("plain is what gives nothing")
	}
}

func TestVariables(t *testing.T) {
	if !slices.IsSorted(commanding) {
		t.Error("the variables are not in order")
	}
	var got []Variable
	for _, name := range []string{"PASSWORD", "LD_PRELOAD", "ld_preload", "_JAVA_OPTIONS"} {
		got = AppendVariable(got, name, name+strings.Repeat("x", variableMax))
	}
	if len(got) != 2 || got[0].Name != "LD_PRELOAD" || got[1].Name != "_JAVA_OPTIONS" || len(got[0].Value) != variableMax {
		t.Errorf("kept %d: %.100v", len(got), got)
	}
}
