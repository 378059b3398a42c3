package exposure_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestStreams: through which channels streams are opened, by what the server's version
// asks for.
func TestStreams(t *testing.T) {
	for _, tt := range []struct {
		name  string
		minor int
		text  []string
		want  string
	}{
		{"create alone", 37, []string{"create pods/exec"}, "K8-EXEC-SPDY"},
		{"get alone", 37, []string{"get pods/exec"}, ""},
		{"both", 37, []string{"create,get pods/exec"}, "K8-EXEC-SPDY K8-EXEC-WS"},
		{"both, by two rules", 37, []string{"create pods/exec", "get pods/exec"}, "K8-EXEC-SPDY K8-EXEC-WS"},
		{"both, for different pods", 37, []string{"create pods/exec web-1", "get pods/exec db-0"}, "K8-EXEC-SPDY"},
		{"both, of which one is for the pod", 37, []string{"create pods/exec", "get pods/exec web-1"}, "K8-EXEC-SPDY K8-EXEC-WS"},
		{"one of exec, one of attach", 37, []string{"create pods/exec", "get pods/attach"}, "K8-EXEC-SPDY"},
		{"get alone, before 1.35", 34, []string{"get pods/exec"}, "K8-EXEC-WS"},
		{"create alone, before 1.35", 34, []string{"create pods/exec"}, "K8-EXEC-SPDY"},
		{"attach, get alone, before 1.35", 34, []string{"get pods/attach"}, "K8-ATTACH-WS"},
		{"attach, both", 37, []string{"get,create pods/attach"}, "K8-ATTACH K8-ATTACH-WS"},
		{"the kubelet, get alone", 37, []string{"get nodes/proxy"}, "K8-NPROXY-EXEC"},
		{"the kubelet, create alone", 37, []string{"create nodes/proxy"}, "K8-NPROXY-EXEC K8-NPROXY-RUN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			c.Version.Minor = tt.minor
			for _, text := range tt.text {
				give(t, c, "", "User", "ann", text)
			}
			list, err := exposure.New(c).Paths("user:ann", &c.Pods[0])
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range list {
				got = append(got, string(e.Channel))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("channels %q, want %q", got, tt.want)
			}
		})
	}
}

// TestDiffOfStreams: what is given besides opens a channel and closes none.
func TestDiffOfStreams(t *testing.T) {
	with := func(text ...string) *exposure.Analysis {
		c := shop()
		for _, rule := range text {
			give(t, c, "shop", "User", "ann", rule)
		}
		return exposure.New(c)
	}
	for _, tt := range []struct{ before, after *exposure.Analysis }{
		{with("create pods/exec"), with("create,get pods/exec")},
		{with("create pods/exec"), with("create pods/exec", "get pods/exec")},
	} {
		got := exposure.Diff(tt.before, tt.after)
		if len(got) != 1 || got[0].Change != exposure.Opened || got[0].Channel != "K8-EXEC-WS" || got[0].Target.Namespace != "shop" {
			t.Errorf("%+v; want K8-EXEC-WS opened alone", got)
		}
	}
}

// TestCutOfStreams: a WebSocket that another rule opens as well stays open.
func TestCutOfStreams(t *testing.T) {
	c := shop()
	for _, text := range []string{"create pods/exec", "get pods/exec", "get pods/exec"} {
		give(t, c, "shop", "User", "ann", text)
	}
	c.Roles[1].Rules, c.Roles[2].Rules = []inventory.Rule{rule(t, "get pods/exec")}, []inventory.Rule{rule(t, "get pods/exec")}
	got := exposure.New(c).Cut(nil, 5, nil)
	if len(got.Removals) != 1 || got.Removals[0].Binding != "RoleBinding shop/r0" || got.Removals[0].Left != 0 {
		t.Errorf("%+v; want the binding that gives create alone", got)
	}
}
