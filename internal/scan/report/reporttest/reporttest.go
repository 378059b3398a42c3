// Package reporttest has a report with something of everything, for the tests of formats.
package reporttest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/report"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// Time is when the scan was made.
var Time = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// Hostile is a name that would break out of whatever does not escape it.
const Hostile = "</script><script>alert(1)</script>\"'>]]>&\x1b[2J\u202e\xff{{.}}"

// Inventory is a small one with something of everything: bindings, pods that lead
// on, a host with an engine, names that are Hostile, gaps and broken input.
func Inventory() *inventory.Inventory {
	at := func(line int) inventory.Origin { return inventory.Origin{Source: "deploy/a b.yaml", Line: line} }
	object := func(namespace, name string, line int) inventory.Object {
		return inventory.Object{Namespace: namespace, Name: name, Origin: at(line)}
	}
	pod := func(namespace, name, account string, line int) inventory.Pod {
		return inventory.Pod{Object: object(namespace, name, line), Node: "n1", Template: inventory.Template{
			ServiceAccount: account, Token: inventory.Yes, Containers: []inventory.Container{{Name: "app"}},
		}}
	}
	exec := inventory.Rule{Verbs: []string{"create"}, Groups: []string{""}, Resources: []string{"pods/exec"}, Line: 24}
	c := &inventory.Cluster{
		Version:    inventory.Version{Major: 1, Minor: 37},
		Namespaces: []inventory.Namespace{{Object: object("", "shop", 1), Enforce: "restricted"}, {Object: object("", "ci", 2), Enforce: "restricted"}},
		Pods:       []inventory.Pod{pod("shop", "web", "web", 3), pod("ci", "runner", "deploy", 9)},
		Roles:      []inventory.Role{{Object: object("shop", "exec", 20), Rules: []inventory.Rule{exec}}},
		Bindings: []inventory.Binding{
			{Object: object("shop", "devs", 30), Role: "exec", Subjects: []inventory.Subject{{Kind: inventory.Group, Name: Hostile}}},
			{Object: object("shop", "deploy", 36), Role: "exec", Subjects: []inventory.Subject{{Kind: inventory.ServiceAccountSubject, Namespace: "ci", Name: "deploy"}}},
		},
	}
	c.Pods[0].Containers[0].Privileged = true
	return &inventory.Inventory{
		Time: Time, Cluster: c,
		Hosts: []inventory.Host{{
			Name: "edge1", Users: []inventory.Account{{Name: "root"}},
			Sockets:   []inventory.Socket{{Service: inventory.ServiceDocker, Path: "/run/docker.sock", Mode: 0o660}},
			Listeners: []inventory.Listener{{Service: inventory.ServiceDocker, Address: "192.0.2.1:2375", TLS: inventory.No, ClientCert: inventory.No}},
			Docker:    &inventory.Docker{Version: "29.0", Socket: "/run/docker.sock", Seccomp: "builtin", AppArmor: inventory.Yes, UserNS: inventory.Unknown},
			Running:   []inventory.DockerOrCRI{{ID: "1", Container: inventory.Container{Name: Hostile, Privileged: true}}},
		}},
		Unread: []inventory.Unread{{What: inventory.PartTokenSecrets, From: "prod", Why: "forbidden: " + Hostile, Help: "ask for it"}},
	}
}

// Result applies a waiver and a baseline to it.
func Result(t testing.TB, i *inventory.Inventory) *report.Result {
	t.Helper()
	waivers, err := waiver.Parse("waivers.yaml", []byte(`version: 1
waivers:
  - {rule: SP-DKR-021, object: "host:edge1/*", owner: ann, reason: "it builds images ]]> <b>", expires: 2027-01-31}
  - {rule: SP-K8S-00*, object: "RoleBinding old/*", owner: bob, reason: migration, expires: 2026-11-01}
`), checkIDs(), Time)
	if err != nil {
		t.Fatal(err)
	}
	gone := finding.NewID("SP-K8S-005", "ClusterRoleBinding old")
	kept := finding.NewID("SP-DKR-001", "host:edge1/docker/tcp/192.0.2.1:2375")
	before, err := baseline.Parse("before.json", strings.NewReader(fmt.Sprintf(
		`{"id":%q,"rule":"SP-K8S-005","severity":"high","subject":"ClusterRoleBinding old"}
{"id":%q,"rule":"SP-DKR-001","severity":"critical","subject":"host:edge1/docker/tcp/192.0.2.1:2375"}
{"coverage":{"not_read":[]}}
`, gone, kept)))
	if err != nil {
		t.Fatal(err)
	}
	r := report.New(i, exposure.New(i.Cluster), waivers, before, Time)
	r.Limit, r.Since = finding.High, "before.json"
	return r
}

func checkIDs() (out []string) {
	for _, r := range checks.Rules() {
		out = append(out, r.ID)
	}
	return out
}

// AnyName draws what an object may be called.
func AnyName() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }), rapid.SampledFrom([]string{
		Hostile, "\x00\ufffe\u2028--><!--", "]]>", "</style><b>", "`${x}`",
	}))
}

// Named returns a report in which people, bindings and containers are called so.
func Named(name string) *report.Result {
	i := Inventory()
	i.Cluster.Bindings[0].Subjects[0].Name, i.Cluster.Bindings[1].Name, i.Hosts[0].Running[0].Name, i.Unread[0].Why = name, name, name, name
	return report.New(i, exposure.New(i.Cluster), nil, nil, Time)
}
