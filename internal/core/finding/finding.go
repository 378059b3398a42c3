// Package finding holds what a rule or a scan reports.
//
// A Finding can be read alone: it names who and what it is about, and says
// what to do, without the session or the inventory that it came from. Its JSON
// form is the product's public, stable output; docs/reference holds the
// generated schema. Absent is absent: a field without a value is left out. The
// package is pure.
package finding

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// ID names a finding: 16 lower-case base32 characters, derived from its rule
// and its subject. The same rule about the same subject gives the same id on
// every run, however often either is looked at.
type ID string

// NewID returns the id of what a rule says of a subject.
func NewID(rule, subject string) ID {
	h := sha256.New()
	var size [8]byte
	for _, s := range []string{"finding", rule, subject} {
		binary.BigEndian.PutUint64(size[:], uint64(len(s))) // so that no two lists write the same bytes
		h.Write(size[:])
		h.Write([]byte(s))
	}
	sum := h.Sum(nil)
	return ID(strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])))
}

// Finding is one thing that a rule or a scan reports.
type Finding struct {
	ID       ID       `json:"id"`
	Rule     string   `json:"rule"` // id of the rule or of the scan's check
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`             // in a few words, the same for all findings of the rule
	Message  string   `json:"message,omitempty"` // about this one
	// Time is when it happened; of a scan, when the inventory was taken.
	Time time.Time `json:"time"`
	// Subject is what it is about, as a key that is stable from run to run: a
	// session's id, or the path of a grant or a setting. ID is derived from it.
	Subject string `json:"subject"`

	// Session is the session that it is about.
	Session session.ID `json:"session,omitempty"`
	// Related lists further sessions that led to it, oldest first: the steps of
	// a sequence, what was counted. At most MaxRelated are named.
	Related []session.ID  `json:"related,omitempty"`
	Channel event.Channel `json:"channel,omitempty"`
	Kind    session.Kind  `json:"kind,omitempty"` // of the session
	Actor   *Actor        `json:"actor,omitempty"`
	Target  *Target       `json:"target,omitempty"`
	// Command is what was asked for, or what ran: at most MaxCommand bytes of
	// it, with bytes that are not UTF-8 replaced. The session has the exact ones.
	Command []string `json:"command,omitempty"`
	// CommandTruncated says that Command holds only the beginning.
	CommandTruncated bool `json:"command_truncated,omitempty"`

	// Effect is what the rule does about it; absent for a scan.
	Effect effect.Effect `json:"effect,omitempty"`
	// Enforced says that the effect was taken. Otherwise it would have been,
	// had a guard stood in the way.
	Enforced bool `json:"enforced,omitempty"`
	// Unknown lists the fields that the rule asks for and that nobody could
	// tell: the rule's condition could not be decided and was taken to hold.
	Unknown []string `json:"unknown,omitempty"`

	Evidence []Evidence         `json:"evidence,omitempty"`
	Attack   []attack.Technique `json:"attack,omitempty"`
	CIS      []string           `json:"cis,omitempty"` // CIS Benchmark recommendations, for example "docker 5.4"
	Remedy   string             `json:"remedy,omitempty"`
}

// The bounds of a finding.
const (
	MaxRelated = 64      // sessions in Finding.Related
	MaxCommand = 4 << 10 // bytes in Finding.Command
)

// Actor says in short who a finding is about.
type Actor struct {
	Kind session.ActorKind `json:"kind"`
	Name string            `json:"name,omitempty"` // user, login user or common name; absent when nobody is named
	// Attribution says how the actor is known.
	Attribution session.Level `json:"attribution,omitempty"`
	// Candidates names everybody who fits, when several do.
	Candidates   []string          `json:"candidates,omitempty"`
	Impersonator string            `json:"impersonator,omitempty"`
	Service      event.Service     `json:"service,omitempty"` // daemon that acted by itself
	Address      string            `json:"address,omitempty"`
	Exe          string            `json:"exe,omitempty"`
	Container    event.ContainerID `json:"container,omitempty"` // where the actor's process runs, when in a container
	Doubts       []string          `json:"doubts,omitempty"`    // why the identity may be in other hands
}

// Target says in short which container or object a finding is about.
type Target struct {
	ContainerID   event.ContainerID `json:"container_id,omitempty"`
	ContainerName string            `json:"container_name,omitempty"`
	Image         string            `json:"image,omitempty"`
	Pod           string            `json:"pod,omitempty"`
	Namespace     string            `json:"namespace,omitempty"`
	Workload      string            `json:"workload,omitempty"` // "Kind/name"
	Node          string            `json:"node,omitempty"`
	Object        string            `json:"object,omitempty"` // what else it is: a grant, a setting, a socket
}

// Evidence is one fact that a finding rests on, in a person's words.
type Evidence struct {
	Time   time.Time `json:"time,omitzero"`
	Source string    `json:"source"` // witness, or the part of the inventory
	What   string    `json:"what"`
	Detail string    `json:"detail,omitempty"`
}
