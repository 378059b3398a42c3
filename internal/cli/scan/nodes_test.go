package scan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan/report"
)

// TestKubeletsOfNodes: a kubelet that was read goes to the node of its name, and to no
// other.
func TestKubeletsOfNodes(t *testing.T) {
	k := &inventory.Kubelet{Node: "n1"}
	i := inventory.Inventory{
		Hosts: []inventory.Host{{Name: "a", Kubelet: k}, {Name: "n2", Kubelet: &inventory.Kubelet{}}, {Name: "b"}},
		Cluster: &inventory.Cluster{Nodes: []inventory.Node{
			{Object: inventory.Object{Name: "n1"}}, {Object: inventory.Object{Name: "n2"}}, {Object: inventory.Object{}},
		}},
	}
	kubeletsOfNodes(&i)
	nodes := i.Cluster.Nodes
	if nodes[0].Kubelet != k || nodes[1].Kubelet != nil || nodes[2].Kubelet != nil {
		t.Errorf("%+v", nodes)
	}
}

// TestServerOfNode: what a host tells of its API server counts for the cluster whose
// node it is, where the cluster does not tell it.
func TestServerOfNode(t *testing.T) {
	full := inventory.APIServer{Authorization: []string{"AlwaysAllow"}, Anonymous: inventory.Yes, PodSecurity: "baseline", AdmissionOff: []string{"PodSecurity"}}
	for _, tt := range []struct {
		name         string
		node         string
		before, want *inventory.APIServer
	}{
		{"nothing was told", "n1", nil, &full},
		{"of another cluster", "n2", nil, nil},
		{"only from where it is reached", "n1", &inventory.APIServer{Public: inventory.No}, &inventory.APIServer{
			Public: inventory.No, Authorization: full.Authorization, Anonymous: full.Anonymous, PodSecurity: full.PodSecurity, AdmissionOff: full.AdmissionOff,
		}},
		{"its flags", "n1", &inventory.APIServer{Authorization: []string{"RBAC"}, Anonymous: inventory.No, Profiling: inventory.No, PodSecurity: "restricted"},
			&inventory.APIServer{Authorization: []string{"RBAC"}, Anonymous: inventory.No, Profiling: inventory.No, PodSecurity: "restricted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own := full
			i := inventory.Inventory{
				Hosts:   []inventory.Host{{Name: "b"}, {Name: "a", APIServer: &own, Kubelet: &inventory.Kubelet{Node: tt.node}}},
				Cluster: &inventory.Cluster{APIServer: tt.before, Nodes: []inventory.Node{{Object: inventory.Object{Name: "n1"}}}},
			}
			if told := serverOfNode(&i); told != (tt.node == "n1") {
				t.Errorf("told %t", told)
			}
			if d := cmp.Diff(tt.want, i.Cluster.APIServer); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestContentsNamesAll: a host beside a cluster is not forgotten.
func TestContentsNamesAll(t *testing.T) {
	hosts := []inventory.Host{{}}
	for want, i := range map[string]*inventory.Inventory{
		"1 host": {Hosts: hosts}, "0 pods, 0 roles, 0 bindings": {Cluster: &inventory.Cluster{}},
		"1 host, 0 pods, 0 roles, 0 bindings": {Hosts: hosts, Cluster: &inventory.Cluster{}},
	} {
		if got := report.Contents(i); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestNodeOf: which node a host is, and by what that is known.
func TestNodeOf(t *testing.T) {
	c := &inventory.Cluster{Nodes: []inventory.Node{{Object: inventory.Object{Name: "n1"}}}, Pods: []inventory.Pod{{Node: "n2"}, {}}}
	for _, tt := range []struct {
		host      inventory.Host
		node, how string
	}{
		{inventory.Host{Name: "a", Kubelet: &inventory.Kubelet{Node: "n1"}}, "n1", " by its kubelet"},
		{inventory.Host{Name: "n1"}, "n1", " by its name"},
		{inventory.Host{Name: "n2", Kubelet: &inventory.Kubelet{}}, "n2", " by its name"},
		{inventory.Host{Name: "n1", Kubelet: &inventory.Kubelet{Node: "other"}}, "", ""},
		{inventory.Host{Name: "a"}, "", ""},
		{inventory.Host{}, "", ""},
	} {
		if node, how := nodeOf(&tt.host, c); node != tt.node || how != tt.how {
			t.Errorf("%+v is %q%s, want %q%s", tt.host, node, how, tt.node, tt.how)
		}
	}
}
