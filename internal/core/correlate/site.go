package correlate

import (
	"cmp"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// site is the host, or the node, whose observations an engine joins.
type site struct {
	// node is the node's name, "" for the host itself and the cluster; elsewhere
	// says which nodes have an engine of their own, nil where none can.
	node      string
	elsewhere func(node string) bool

	boot     event.BootID // the latest, with hostname, as told
	hostname string
	told     time.Time
	users    map[uint32]string // names by uid
}

func newSite(node string, elsewhere func(node string) bool) site {
	return site{node: node, elsewhere: elsewhere, users: map[uint32]string{}}
}

// learn notes what a host says of itself.
func (s *site) learn(h event.Host) {
	if h.BootID != "" && (s.boot == "" || !h.Time.Before(s.told)) {
		s.boot, s.hostname, s.told = h.BootID, h.Hostname, h.Time
	}
	for uid, name := range h.Users {
		s.users[uid] = name
	}
}

// name is what the site is called in sessions and by clocks.
func (s *site) name() string { return cmp.Or(s.node, s.hostname) }

// alone reports whether no other engine takes part.
func (s *site) alone() bool { return s.elsewhere == nil }

// responsible reports whether this engine makes sessions of requests that
// concern a node: a node's engine of its own, the engine "" of all that have no
// engine and of those whose node is not known (node "").
func (s *site) responsible(node string) bool {
	if s.node != "" {
		return s.node == node
	}
	return node == "" || s.elsewhere == nil || !s.elsewhere(node)
}

// loginName returns the name of a login uid where it says more than the name
// under which the process ran.
func (s *site) loginName(uid *uint32, user string) string {
	if uid == nil || s.users[*uid] == user {
		return ""
	}
	return s.users[*uid]
}
