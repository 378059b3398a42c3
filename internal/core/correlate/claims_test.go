package correlate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestClaimsHoldWithWhatTheyNeed holds the needs of the claims in the catalogue
// of channels: a story that proves a claim is told again with only what the
// claim says is needed, and the channel and the level must still come out of at
// least one of the claim's stories. What a guard stops no story tells: the tests that
// such a claim names try it on the real daemon.
func TestClaimsHoldWithWhatTheyNeed(t *testing.T) {
	told := make(map[string]written)
	for _, s := range corpus(t) {
		told[s.name] = s
	}
	for _, c := range attack.Claims() {
		if c.Does != attack.Observed && c.Does != attack.Attributed {
			continue
		}
		t.Run(strings.Join([]string{string(c.Channel), string(c.Does), string(c.Level)}, " "), func(t *testing.T) {
			var found []session.Session
			for _, test := range c.Tests {
				if name, story := test.Func(); name == "TestCorpus" {
					s := told[story]
					found = append(found, slices.DeleteFunc(feed(only(s.observations, c.Needs)), func(x session.Session) bool {
						return x.Started.Before(s.observations[0].Head().Time) // a container that ran already
					})...)
				}
			}
			if !slices.ContainsFunc(found, func(s session.Session) bool { return bearsOut(c, s) }) {
				t.Errorf("with %v alone, no story gives it:", c.Needs)
				for _, s := range found {
					t.Logf("%s %s, attributed: %s", s.Kind, s.Channel, s.Attribution.Level)
				}
			}
		})
	}
}

func bearsOut(c attack.Claim, s session.Session) bool {
	channel := c.Channel
	if c.As != "" {
		channel = c.As
	}
	return s.Channel == channel && (c.Does == attack.Observed || s.Attribution.Level == c.Level)
}

// only returns the observations that a host would have made that has nothing
// but needs.
func only(observations []event.Observation, needs []attack.Need) []event.Observation {
	has := func(n attack.Need) bool { return slices.Contains(needs, n) }
	var out []event.Observation
	for _, o := range observations {
		keep := true
		switch o := o.(type) {
		case event.WitnessState:
			if o.Witness == event.WitnessKernel {
				o.Peers, o.Requests = o.Peers && has(attack.NeedPeers), o.Requests && has(attack.NeedRequests)
				if has(attack.NeedKernel) {
					out = append(out, o)
				}
				continue
			}
			keep = has(attack.Need(o.Witness))
		case event.Host, event.Tick, event.Clock:
		case event.DockerRequest, event.DockerAnswer, event.RuntimeRequest:
			keep = has(attack.NeedRequests)
		case event.ClientConnect:
			if o.Tapped = o.Tapped && has(attack.NeedRequests); has(attack.NeedPeers) {
				out = append(out, o)
			}
			continue
		case event.ClientClose:
			keep = has(attack.NeedPeers)
		default:
			keep = has(attack.Need(o.Head().Witness))
		}
		if keep {
			out = append(out, o)
		}
	}
	return out
}
