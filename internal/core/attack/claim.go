package attack

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Claim says one thing that this version does about one channel, where it
// does it, and which tests prove it.
type Claim struct {
	Channel event.Channel `json:"channel"`
	Does    Verb          `json:"does"`
	// Level is the attribution reached; of Attributed only.
	Level session.Level `json:"level,omitempty"`
	// As is the channel that sessions carry instead, where this version cannot
	// tell the two apart.
	As event.Channel `json:"as,omitempty"`
	// Needs lists what a host must have, all of it, for the claim to hold
	// there. Several claims of one verb are alternatives.
	Needs []Need `json:"needs"`
	// Tests lists the tests that prove the claim.
	Tests []Test `json:"tests"`
}

// Test names a test: "package/path.TestName/subtest".
type Test string

// Package returns the package's path from the module's root, "" when t is not
// the name of a test.
func (t Test) Package() string {
	pkg, _, ok := strings.Cut(string(t), ".Test")
	if !ok {
		return ""
	}
	return pkg
}

// Func returns the name of the test function, and the subtest if any.
func (t Test) Func() (name, subtest string) {
	_, rest, _ := strings.Cut(string(t), ".Test")
	name, subtest, _ = strings.Cut(rest, "/")
	return "Test" + name, subtest
}

// Verb is what can be done about a channel.
type Verb string

// The verbs.
const (
	Observed   Verb = "observed"   // a command by this channel becomes a session
	Attributed Verb = "attributed" // the session says who asked
	Guarded    Verb = "guarded"    // rules decide before the command runs
	Scanned    Verb = "scanned"    // who could use it is computed
	Drilled    Verb = "drilled"    // it can be exercised on one's own targets
)

// Need is something that a host must have for Sallyport to see there.
type Need string

// What a host can have.
const (
	NeedDocker     Need = "docker"     // Docker's event stream
	NeedContainerd Need = "containerd" // containerd's event stream
	NeedKernel     Need = "kernel"     // the kernel sensor at level 2 or more
	NeedPeers      Need = "peers"      // who connects to the services' sockets
	NeedRequests   Need = "requests"   // what they ask there
	NeedAudit      Need = "audit"      // the API server's audit log
	NeedAdmission  Need = "admission"  // the admission webhook
	NeedPods       Need = "kube"       // the API server's pods
)

// needs lists all needs, in the order in which they are shown.
var needs = []Need{NeedDocker, NeedContainerd, NeedKernel, NeedPeers, NeedRequests, NeedAudit, NeedAdmission, NeedPods}

// Needs returns everything that a host can have.
func Needs() []Need { return slices.Clone(needs) }

//go:embed claims.json
var claimsJSON []byte

// Claims returns what this version does, in the order of the catalogue's rows.
func Claims() []Claim {
	claims, err := parseClaims(claimsJSON, Channels())
	if err != nil {
		panic(err) // embedded and tested: cannot happen in a built program
	}
	return claims
}

func parseClaims(data []byte, channels []Channel) ([]Claim, error) {
	var claims []Claim
	if err := strict(data, &claims); err != nil {
		return nil, fmt.Errorf("parse claims: %w", err)
	}
	at := make(map[event.Channel]int, len(channels))
	for i, c := range channels {
		at[c.ID] = i
	}
	for _, c := range claims {
		if _, ok := at[c.Channel]; !ok {
			return nil, fmt.Errorf("parse claims: %q is not in the catalogue", c.Channel)
		}
		if _, ok := at[c.As]; c.As != "" && !ok {
			return nil, fmt.Errorf("parse claims: %s: %q is not in the catalogue", c.Channel, c.As)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("parse claims: %s %s: %w", c.Channel, c.Does, err)
		}
	}
	slices.SortStableFunc(claims, func(a, b Claim) int { return at[a.Channel] - at[b.Channel] })
	return claims, nil
}

func (c Claim) check() error {
	if !slices.Contains([]Verb{Observed, Attributed, Guarded, Scanned, Drilled}, c.Does) {
		return errors.New("unknown verb")
	}
	if attributed := c.Does == Attributed; attributed != slices.Contains(strengths, c.Level) {
		return fmt.Errorf("level %q does not fit", c.Level)
	}
	if len(c.Needs) == 0 || len(c.Tests) == 0 {
		return errors.New("a claim needs at least one need and one test")
	}
	for _, n := range c.Needs {
		if !slices.Contains(needs, n) {
			return fmt.Errorf("unknown need %q", n)
		}
	}
	for _, t := range c.Tests {
		if t.Package() == "" {
			return fmt.Errorf("test %q is not package/path.TestName", t)
		}
	}
	return nil
}

// strengths lists the levels of attribution that can be claimed, strongest
// first. LevelNone is what a channel has without a claim.
var strengths = []session.Level{session.LevelExact, session.LevelStrong, session.LevelSet}
