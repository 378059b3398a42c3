package policy

import (
	"github.com/sallyport/sallyport/internal/core/session"
)

// Explanation says what one rule makes of one session.
type Explanation struct {
	Rule string `json:"rule"`
	// Answer is yes, no, unknown, error, elsewhere (it cannot hold for this
	// channel, kind or namespace) or several (it is about several sessions).
	Answer     string   `json:"answer"`
	Unknown    []string `json:"unknown,omitempty"`
	Error      string   `json:"error,omitempty"`
	Holds      bool     `json:"holds"` // what is made of the answer, before suppressions
	Suppressed bool     `json:"suppressed,omitempty"`
	// Steps lists the steps of a sequence that the session is, from 1.
	Steps []int `json:"steps,omitempty"`
}

// Explain says what each rule makes of a session that was seen.
func (s *Set) Explain(seen *session.Session) []Explanation {
	a := &asking{set: s, about: seen}
	defer a.close()
	can := make(map[*rule]bool)
	a.each(func(r *rule) { can[r] = true })
	a.open()
	out := make([]Explanation, 0, len(s.rules))
	for _, r := range s.rules {
		out = append(out, r.explain(a, can[r]))
	}
	return out
}

func (r *rule) explain(a *asking, can bool) Explanation {
	e := Explanation{Rule: r.ID, Answer: "elsewhere"}
	if !can {
		return e
	}
	if r.sequence != nil {
		e.Answer = "several"
		for i, step := range r.sequence.steps {
			if r.holds(a.judge(step, 0)) {
				e.Steps = append(e.Steps, i+1)
			}
		}
		return e
	}
	got := a.judge(r.when, 0)
	m := match(r, got)
	e.Unknown, e.Error, e.Holds = m.Unknown, m.Error, r.holds(got)
	switch {
	case got.Err() != nil:
		e.Answer = "error"
	case got.Unknown():
		e.Answer = "unknown"
	case r.count != nil && got.Yes:
		e.Answer = "several"
	case got.Yes:
		e.Answer = "yes"
	default:
		e.Answer = "no"
	}
	e.Suppressed = e.Holds && r.suppressed(a.about)
	return e
}
