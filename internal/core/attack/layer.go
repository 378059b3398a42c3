package attack

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// ATT&CK's version that ids and names are of, the version of the layer format,
// and the Navigator that came with the former.
const (
	attackVersion    = "18"
	layerVersion     = "4.5"
	navigatorVersion = "5.2.0"
)

// Layer is a layer of ATT&CK Navigator, format 4.5
// (github.com/mitre-attack/attack-navigator, layers/spec/v4.5).
type Layer struct {
	Name        string           `json:"name"`
	Versions    LayerVersions    `json:"versions"`
	Domain      string           `json:"domain"`
	Description string           `json:"description"`
	Sorting     int              `json:"sorting"` // 3: by score, the highest first
	Layout      LayerLayout      `json:"layout"`
	Techniques  []LayerTechnique `json:"techniques"`
	Gradient    LayerGradient    `json:"gradient"`
	Legend      []LayerLegend    `json:"legendItems"`
	Metadata    []LayerMetadata  `json:"metadata"`
}

// LayerVersions says what a layer is made for.
type LayerVersions struct {
	Attack    string `json:"attack"`
	Navigator string `json:"navigator"`
	Layer     string `json:"layer"`
}

// LayerLayout says how a layer is shown.
type LayerLayout struct {
	Layout                string `json:"layout"`
	ShowID                bool   `json:"showID"`
	ShowName              bool   `json:"showName"`
	ExpandedSubtechniques string `json:"expandedSubtechniques"`
}

// LayerTechnique is what a layer says of one technique, under all its tactics.
type LayerTechnique struct {
	TechniqueID string          `json:"techniqueID"`
	Score       int             `json:"score"`
	Comment     string          `json:"comment"`
	Enabled     bool            `json:"enabled"`
	Metadata    []LayerMetadata `json:"metadata"`
}

// LayerGradient gives scores their colours.
type LayerGradient struct {
	Colors   []string `json:"colors"`
	MinValue int      `json:"minValue"`
	MaxValue int      `json:"maxValue"`
}

// LayerLegend explains a colour.
type LayerLegend struct {
	Label string `json:"label"`
	Color string `json:"color"`
}

// LayerMetadata is a name with a value. Neither may be empty.
type LayerMetadata struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// scores gives the meaning of a technique's score, and its colour.
var scores = []LayerLegend{
	{"no rule", "#f4f4f4"},
	{"rules, none of them tested", "#fdd49e"},
	{"tested rules", "#a6cee3"},
	{"tested rules, and the host shows what they are about", "#33a02c"},
}

// score returns the place of a technique's state in scores.
func (t TechniqueCover) score() int {
	switch {
	case len(t.Rules) == 0:
		return 0
	case len(t.Tested) == 0:
		return 1
	case t.Here != Yes:
		return 2
	}
	return 3
}

// Layer returns the coverage as a layer; about says whose rules and host it is.
func (c Coverage) Layer(about string) Layer {
	l := Layer{
		Name:        "Sallyport: T1609 and neighbours",
		Versions:    LayerVersions{attackVersion, navigatorVersion, layerVersion},
		Domain:      "enterprise-attack",
		Description: about,
		Sorting:     3,
		Layout:      LayerLayout{Layout: "side", ShowID: true, ShowName: true, ExpandedSubtechniques: "annotated"},
		Gradient:    LayerGradient{MaxValue: len(scores) - 1},
		Legend:      scores,
		Techniques:  []LayerTechnique{},
		Metadata:    []LayerMetadata{},
	}
	for _, s := range scores {
		l.Gradient.Colors = append(l.Gradient.Colors, s.Color)
	}
	for _, p := range c.Procedures {
		l.Metadata = append(l.Metadata, LayerMetadata{p.ID + " " + p.Name, p.summary()})
	}
	for _, t := range c.Techniques {
		l.Techniques = append(l.Techniques, c.layerTechnique(t))
	}
	return l
}

func (c Coverage) layerTechnique(t TechniqueCover) LayerTechnique {
	out := LayerTechnique{TechniqueID: string(t.ID), Score: t.score(), Comment: t.summary(), Enabled: true, Metadata: []LayerMetadata{}}
	for _, r := range c.Rules {
		if slices.Contains(t.Rules, r.ID) {
			out.Metadata = append(out.Metadata, LayerMetadata{r.ID, r.summary()})
		}
	}
	if len(t.Channels) > 0 {
		out.Metadata = append(out.Metadata, LayerMetadata{"channels", words(t.Channels)})
	}
	return out
}

// summary says in a line what rules do about something.
func (c Cover) summary() string {
	if len(c.Rules) == 0 {
		return "no rule"
	}
	return fmt.Sprintf("%d rules, %d of them tested; by %s %d, by %s %d; seen on this host: %s",
		len(c.Rules), len(c.Tested), Command.Name(), len(c.Command), Process.Name(), len(c.Process), c.Here)
}

func (r RuleCover) summary() string {
	names := make([]string, len(r.Sources))
	for i, s := range r.Sources {
		names[i] = s.Name()
	}
	return fmt.Sprintf("%s (%s; %d tests; seen on this host: %s)", r.Title, strings.Join(names, ", "), len(r.Tests), r.Here)
}

func words(channels []event.Channel) string {
	out := make([]string, len(channels))
	for i, c := range channels {
		out[i] = string(c)
	}
	return strings.Join(out, " ")
}
