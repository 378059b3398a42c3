// Package inventory holds what scan looks at: hosts with their container
// engines, and a Kubernetes cluster, as far as they could be read.
//
// An Inventory is what a snapshot keeps, and all that the analysis sees: a scan
// of a snapshot gives what the scan of the live system gave. Everything in it has
// an Origin, so that whatever is said of it can be pointed to. What was not read is
// in Unread and never looks like something that is not there: lists that were not
// read are nil and noted, settings that nobody could tell are Unknown. There are no
// secrets in it. The package is pure.
package inventory

import (
	"strconv"
	"time"
)

// Inventory is one or more hosts, a cluster, or both.
type Inventory struct {
	Time    time.Time `json:"time"` // when it was taken
	Hosts   []Host    `json:"hosts,omitempty"`
	Cluster *Cluster  `json:"cluster,omitempty"`
	// Unread is what was not looked at, and why.
	Unread []Unread `json:"unread,omitempty"`
	// Skipped is what was looked at and not understood: broken documents, kinds
	// that say nothing about commands are not among them.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Unread is a part that was not read. Whatever depends on it is unknown.
type Unread struct {
	// What names the part as Covers names do, for example "cluster roles",
	// "host groups", "docker containers".
	What Part   `json:"what"`
	From string `json:"from,omitempty"` // host, cluster or file
	Why  string `json:"why"`
	// Help says what would let it be read.
	Help string `json:"help,omitempty"`
}

// Skipped is a document or line that was not understood.
type Skipped struct {
	Origin Origin `json:"origin"`
	Why    string `json:"why"`
}

// Origin says where a fact stands.
type Origin struct {
	// Source is a file, a host, or the context of a cluster.
	Source string `json:"source,omitempty"`
	// Line is where in a file the object begins; 0 when there are no lines.
	Line int `json:"line,omitempty"`
}

// String writes it as compilers do: "file:3", or the source alone.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.Source
	}
	return o.Source + ":" + strconv.Itoa(o.Line)
}

// Part names what can be read, and be left unread.
type Part string

// The parts of an inventory.
const (
	PartNamespaces      Part = "namespaces"
	PartServiceAccounts Part = "service accounts"
	PartRoles           Part = "roles"
	PartClusterRoles    Part = "cluster roles"
	PartRoleBindings    Part = "role bindings"
	PartClusterBindings Part = "cluster role bindings"
	PartPods            Part = "pods"
	PartWorkloads       Part = "workloads"
	PartNodes           Part = "nodes"
	PartTokenSecrets    Part = "token secrets"
	PartWebhooks        Part = "admission webhooks"
	PartPolicies        Part = "admission policies"
	PartPodMakers       Part = "kinds of other controllers"
	PartAWSAuth         Part = "ConfigMap aws-auth"
	PartVersion         Part = "server version"
	PartGates           Part = "feature gates"
	PartAPIServer       Part = "API server settings"
	PartKubelet         Part = "kubelet settings"
	PartAudit           Part = "audit policy"
	PartFiles           Part = "key files"

	PartDaemon     Part = "docker settings"
	PartListeners  Part = "listening sockets"
	PartSockets    Part = "runtime sockets"
	PartAccounts   Part = "users and groups"
	PartSudo       Part = "sudo rules"
	PartContainers Part = "docker containers"
	PartRuntimes   Part = "containers of other engines"
	PartImages     Part = "images"
)

// Is reports whether a part was left unread.
func (i *Inventory) Is(p Part) bool {
	for _, u := range i.Unread {
		if u.What == p {
			return true
		}
	}
	return false
}

// Answer is a setting that may be unknown. The zero value is unknown, so that a
// setting that nobody read is never taken for off.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// AnswerOf makes an answer of what is known.
func AnswerOf(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

var answers = [...]string{"unknown", "no", "yes"}

// String returns "unknown", "no" or "yes".
func (a Answer) String() string {
	if int(a) < len(answers) {
		return answers[a]
	}
	return answers[Unknown]
}

// MarshalText implements encoding.TextMarshaler.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Any other text is unknown.
func (a *Answer) UnmarshalText(b []byte) error {
	*a = Unknown
	for i, s := range answers {
		if s == string(b) {
			*a = Answer(i)
		}
	}
	return nil
}
