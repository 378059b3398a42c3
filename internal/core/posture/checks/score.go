package checks

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Factor is one factor of a score, and why it is what it is.
type Factor struct {
	Name  string
	Value float64
	Why   string
}

// Score says how much something matters: 10 × reach × privilege × who × exposure, at
// most 10, to one decimal. docs/guide/scan.md lists what the factors can be.
type Score struct {
	Value   float64
	Factors []Factor
}

func newScore(factors ...Factor) Score {
	s := Score{Value: 10, Factors: factors}
	for _, f := range factors {
		s.Value *= f.Value
	}
	s.Value = math.Round(min(s.Value, 10)*10) / 10
	return s
}

// ofSetting is the score of a setting, whose severity is its rule's: the least that is
// called so.
func ofSetting(s finding.Severity) Score {
	f := Factor{Name: "setting", Why: "its rule's severity, " + s.String()}
	switch s {
	case finding.Critical:
		f.Value = 0.9
	case finding.High:
		f.Value = 0.7
	case finding.Medium:
		f.Value = 0.4
	case finding.Low:
		f.Value = 0.1
	case finding.Info:
	}
	return newScore(f)
}

// Settled returns a finding whose severity is its rule's, with the score of such.
func Settled(f finding.Finding) Found { return Found{Finding: f, Score: ofSetting(f.Severity)} }

// Severity is the name of a score, by the ranges of CVSS.
func (s Score) Severity() finding.Severity {
	switch {
	case s.Value >= 9:
		return finding.Critical
	case s.Value >= 7:
		return finding.High
	case s.Value >= 4:
		return finding.Medium
	}
	return finding.Low
}

// String writes a score with its factors.
func (s Score) String() string {
	out := append(strconv.AppendFloat(make([]byte, 0, 256), s.Value, 'f', 1, 64), " = 10"...)
	for _, f := range s.Factors {
		out = append(append(out, " × "...), f.Name...)
		out = strconv.AppendFloat(append(out, ' '), f.Value, 'f', 1, 64)
		out = append(append(append(out, " ("...), f.Why...), ')')
	}
	return string(out)
}

// reach is by the part of all pods that is reached in the end.
func reach(pods, of int) Factor {
	f := Factor{Name: "reach", Why: fmt.Sprintf("%d of %d pods", pods, of)}
	switch {
	case pods == 0:
		f.Value = 0.2
	case pods == of:
		f.Value = 1
	case 2*pods >= of:
		f.Value = 0.9
	case 10*pods >= of:
		f.Value = 0.7
	default:
		f.Value = 0.5
	}
	return f
}

// privilege is by what it comes to in the end, or by what kind of step it is.
func privilege(s exposure.Spread, e exposure.Edge) Factor {
	switch {
	case s.Everything:
		return Factor{"privilege", 1, "cluster administrator"}
	case s.Node:
		return Factor{"privilege", 0.9, "root on a node"}
	case slices.Contains([]exposure.Edge{exposure.EdgeExec, exposure.EdgeAttach}, e):
		return Factor{"privilege", 0.7, "as the container is"}
	}
	return Factor{"privilege", 0.8, "by means of its own"}
}

// who is by the one who is least known.
func who(actors []exposure.Actor) Factor {
	best := Factor{Name: "who"}
	for _, a := range actors {
		f := Factor{"who", 1, "a group or service account"}
		switch {
		case anonymous(a):
			f.Value, f.Why = 2, "anonymous"
		case anyone(a):
			f.Value, f.Why = 1.5, "anyone"
		case len(a) > 5 && a[:5] == "user:":
			f.Value, f.Why = 0.9, "a named user"
		}
		if f.Value > best.Value {
			best = f
		}
	}
	return best
}

// entrant is whoever gets into a pod in the first place.
var entrant = Factor{"who", 0.7, "whoever gets into the pod"}

func anonymous(a exposure.Actor) bool {
	return a == exposure.Anonymous || a == exposure.Actor("user:"+rbac.AnonymousUser)
}

func anyone(a exposure.Actor) bool {
	return a == exposure.Anyone || a == "group:system:serviceaccounts"
}

// exposed is by from where the API server can be reached.
func exposed(c *inventory.Cluster) Factor {
	if c.APIServer != nil {
		switch c.APIServer.Public {
		case inventory.Yes:
			if len(c.APIServer.Ranges) == 0 {
				return Factor{"exposure", 1.2, "the API server can be reached from everywhere"}
			}
			return Factor{"exposure", 1, "the API server can be reached from some addresses"}
		case inventory.No:
			return Factor{"exposure", 0.9, "the API server cannot be reached from outside"}
		case inventory.Unknown:
		}
	}
	return Factor{"exposure", 1, "unknown from where the API server can be reached"}
}
