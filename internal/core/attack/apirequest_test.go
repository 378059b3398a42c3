package attack

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Requests are of channels that there are, and say completely what they are.
func TestAPIRequests(t *testing.T) {
	known := map[event.Channel]bool{}
	for _, c := range Channels() {
		known[c.ID] = true
	}
	for c, all := range apiRequests {
		if !known[c] || len(all) == 0 || !MayBeAPIRequest(c) {
			t.Errorf("%s: %v", c, all)
		}
		for _, r := range all {
			if r.Resource == "" || len(r.Verbs) == 0 || !slices.IsSorted(r.Verbs) || (r.Object == "") != (r.Subresource != "") {
				t.Errorf("%s: %+v", c, r)
			}
		}
	}
	for c := range known {
		if AlwaysAPIRequest(c) && len(apiRequests[c]) != 1 {
			t.Errorf("%s is always one of %v", c, apiRequests[c])
		}
	}
	for _, c := range []event.Channel{event.ChannelDockerExec, event.ChannelKubeletRun, event.ChannelKubeProbe, event.ChannelHostNsenter} {
		if MayBeAPIRequest(c) || APIRequests(session.KindExec, c) != nil {
			t.Errorf("%s is no request to the API server", c)
		}
	}
	if r := APIRequests(session.KindStart, event.ChannelKubeWorkload); len(r) != 1 || r[0].Resource != "pods" || r[0].Verbs[0] != "create" {
		t.Errorf("what a workload starts is a pod that was made: %v", r)
	}
}
