package attack

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Row is a channel with what this version does about it.
type Row struct {
	Channel
	// As is the channel that sessions carry instead; absent when it is this one.
	As       event.Channel `json:"as,omitempty"`
	Observed bool          `json:"observed"`
	// Attributed is the strongest level that is claimed, on a host that has
	// everything; "none" without a claim.
	Attributed session.Level `json:"attributed"`
	Guarded    bool          `json:"guarded"`
	Scanned    bool          `json:"scanned"`
	Drilled    bool          `json:"drilled"`
	Claims     []Claim       `json:"claims,omitempty"`
}

// Rows returns the whole catalogue with what is claimed.
func Rows() []Row { return join(Channels(), Claims()) }

func join(channels []Channel, claims []Claim) []Row {
	byID := make(map[event.Channel][]Claim)
	for _, c := range claims {
		byID[c.Channel] = append(byID[c.Channel], c)
	}
	rows := make([]Row, 0, len(channels))
	for _, ch := range channels {
		r := Row{Channel: ch, Claims: byID[ch.ID], Attributed: session.LevelNone}
		for _, c := range r.Claims {
			r.add(c)
		}
		rows = append(rows, r)
	}
	return rows
}

func (r *Row) add(c Claim) {
	if c.As != "" {
		r.As = c.As
	}
	switch c.Does {
	case Observed:
		r.Observed = true
	case Attributed:
		r.Attributed = stronger(r.Attributed, c.Level)
	case Guarded:
		r.Guarded = true
	case Scanned:
		r.Scanned = true
	case Drilled:
		r.Drilled = true
	}
}

// stronger returns the stronger of two levels.
func stronger(a, b session.Level) session.Level {
	for _, l := range strengths {
		if a == l || b == l {
			return l
		}
	}
	return session.LevelNone
}

// Here is what holds of a Row on one host.
type Here struct {
	Observed   bool          `json:"observed"`
	Attributed session.Level `json:"attributed"`
	// Missing lists what the host lacks for all that is claimed of the row.
	Missing []Need `json:"missing,omitempty"`
}

// On returns what holds of the row on a host that has the given things.
func (r Row) On(have ...Need) Here {
	h := Here{Attributed: session.LevelNone}
	lacking := make(map[Verb][]Need)
	for _, c := range r.Claims {
		lack := without(c.Needs, have)
		if len(lack) == 0 {
			h.hold(c)
		} else if c.Does == Observed || c.Level == r.Attributed {
			lacking[c.Does] = append(lacking[c.Does], lack...)
		}
	}
	if h.Observed {
		delete(lacking, Observed)
	}
	if h.Attributed == r.Attributed {
		delete(lacking, Attributed)
	}
	for _, n := range needs {
		if slices.Contains(lacking[Observed], n) || slices.Contains(lacking[Attributed], n) {
			h.Missing = append(h.Missing, n)
		}
	}
	return h
}

func (h *Here) hold(c Claim) {
	switch c.Does {
	case Observed:
		h.Observed = true
	case Attributed:
		h.Attributed = stronger(h.Attributed, c.Level)
	case Guarded, Scanned, Drilled: // not a question of what the host shows
	}
}

func without(all, some []Need) []Need {
	return slices.DeleteFunc(slices.Clone(all), func(n Need) bool { return slices.Contains(some, n) })
}
