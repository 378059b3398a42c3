package correlate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestCalledKubelet: a process that is called a kubelet, and is not the one that
// serves the kubelet's port, may have asked for a command as anybody may. Where it
// is not known who serves it, the name decides.
func TestCalledKubelet(t *testing.T) {
	for name, tc := range map[string]struct {
		kubelets []uint32
		pid      uint32
		suspect  bool
	}{
		"the kubelet":      {[]uint32{900}, 900, false},
		"after a restart":  {[]uint32{899, 900}, 899, false},
		"called so":        {[]uint32{900}, 666, true},
		"nobody can tell":  {nil, 666, false},
		"another program ": {nil, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(false)
			if tc.kubelets != nil {
				c.add(event.WitnessState{
					Header: c.head(event.WitnessKernel), Up: true, From: t0, Level: "L2", Peers: true, Ports: []event.Service{event.ServiceKubelet}, Kubelets: tc.kubelets,
				})
			}
			peer := event.Peer{ID: event.ProcessID{PID: tc.pid, Start: 5}, Comm: "kubelet", Exe: "/tmp/kubelet"}
			if tc.pid == 0 {
				peer = event.Peer{ID: event.ProcessID{PID: 666, Start: 5}, Comm: "crictl", Exe: "/tmp/crictl"}
			}
			c.add(event.ClientConnect{Header: c.head(event.WitnessKernel), Conn: 77, Service: event.ServiceContainerd, Peer: peer})
			c.later(time.Second)
			c.run(byKubelet, 10*time.Millisecond, probe)
			c.later(time.Second)
			c.add(event.ClientClose{Header: c.head(event.WitnessKernel), Conn: 77})
			c.end()
			s := one(t, finally(c.obs))
			named := func(a session.Actor) bool { return a.Service == event.ServiceKubelet }
			suspected := s.Attribution.Level == session.LevelSet && slices.ContainsFunc(s.Attribution.Candidates, func(a session.Actor) bool { return !named(a) })
			if suspected != tc.suspect || !tc.suspect && !named(s.Actor) {
				t.Errorf("level %s, actor %+v, candidates %+v", s.Attribution.Level, s.Actor, s.Attribution.Candidates)
			}
		})
	}
}
