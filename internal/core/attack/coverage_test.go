package attack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

// aRule is a rule that asks about what was asked for.
func aRule(id string, change ...func(*Rule)) Rule {
	r := Rule{
		ID: id, Title: "title", Techniques: []Technique{T1609}, Channels: []event.Channel{"DK-EXEC"},
		Reads: []string{"kind", "command"}, Tests: []string{"x.test.yaml:3: it is found"},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func TestSeenOn(t *testing.T) {
	row := join([]Channel{{ID: "DK-EXEC"}}, []Claim{
		{Channel: "DK-EXEC", Does: Observed, Needs: []Need{NeedDocker}},
		{Channel: "DK-EXEC", Does: Observed, Needs: []Need{NeedKernel, NeedPeers}},
		{Channel: "DK-EXEC", Does: Attributed, Needs: []Need{NeedAudit}},
	})[0]
	for name, tc := range map[string]struct {
		host Host
		want Answer
	}{
		"nothing":             {Host{}, No},
		"nobody looked":       {AnyHost(), Unknown},
		"one way":             {Host{Have: []Need{NeedDocker}}, Yes},
		"half of another way": {Host{Have: []Need{NeedKernel}}, No},
		"half, and the rest unclear": {
			Host{Have: []Need{NeedKernel}, Unclear: []Need{NeedPeers}}, Unknown,
		},
		"unclear beside yes": {Host{Have: []Need{NeedDocker}, Unclear: []Need{NeedKernel}}, Yes},
		"not observed":       {Host{Have: []Need{NeedAudit}}, No},
	} {
		if got := row.SeenOn(tc.host); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestSourcesOfRules(t *testing.T) {
	for name, tc := range map[string]struct {
		rule Rule
		want []Source
	}{
		"asks for the command":             {aRule("a"), []Source{Command}},
		"asks for programs":                {aRule("a", func(r *Rule) { r.Reads = []string{"kind", "programs"} }), []Source{Process}},
		"asks for both":                    {aRule("a", func(r *Rule) { r.Reads = []string{"argv", "processes"} }), []Source{Command, Process}},
		"asks for neither, both doors":     {aRule("a", func(r *Rule) { r.Reads = []string{"kind"} }), []Source{Command, Process}},
		"asks for neither, a service door": {aRule("a", func(r *Rule) { r.Reads, r.Channels = nil, []event.Channel{"DK-ATTACH"} }), []Source{Command}},
		"asks for neither, the kernel":     {aRule("a", func(r *Rule) { r.Reads, r.Channels = nil, []event.Channel{"HO-NSENTER"} }), []Source{Process}},
		"a process nobody asked for":       {aRule("a", func(r *Rule) { r.Reads, r.Channels = nil, []event.Channel{event.ChannelUnknown} }), []Source{Process}},
	} {
		got := Covered([]Rule{tc.rule}, AnyHost()).Rules[0].Sources
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

// ofWitness makes a rule one about a witness.
func ofWitness(w event.Witness) func(*Rule) {
	return func(r *Rule) { r.Channels, r.Reads, r.Witnesses = nil, nil, []event.Witness{w} }
}

// A rule about processes alone says nothing where only a service tells.
func TestRuleIsSeenByWhatItRestsOn(t *testing.T) {
	programs := func(r *Rule) { r.Reads = []string{"programs"} }
	for name, tc := range map[string]struct {
		rule Rule
		host Host
		want Answer
	}{
		"a command":                {aRule("a"), Host{Have: []Need{NeedDocker}}, Yes},
		"programs without sensor":  {aRule("a", programs), Host{Have: []Need{NeedDocker}}, No},
		"programs with sensor":     {aRule("a", programs), Host{Have: []Need{NeedDocker, NeedKernel}}, Yes},
		"programs, sensor unclear": {aRule("a", programs), Host{Have: []Need{NeedDocker}, Unclear: []Need{NeedKernel}}, Unknown},
		"no channel":               {aRule("a", func(r *Rule) { r.Channels = nil }), Host{Have: Needs()}, No},
		"another channel":          {aRule("a", func(r *Rule) { r.Channels = []event.Channel{"K8-ATTACH"} }), Host{Have: []Need{NeedDocker}}, No},
		"nobody looked":            {aRule("a"), AnyHost(), Unknown},
		"a witness that works":     {aRule("a", ofWitness(event.WitnessAudit)), Host{Have: []Need{NeedAudit}}, Yes},
		"a witness that does not":  {aRule("a", ofWitness(event.WitnessAudit)), Host{Have: []Need{NeedDocker}}, No},
		"the engine":               {aRule("a", ofWitness(event.WitnessEngine)), Host{Have: []Need{NeedAudit}}, Yes},
		"the engine, with nothing": {aRule("a", ofWitness(event.WitnessEngine)), Host{}, No},
		"the engine, somewhere":    {aRule("a", ofWitness(event.WitnessEngine)), AnyHost(), Unknown},
		"nodes":                    {aRule("a", ofWitness(event.WitnessNodes)), Host{}, Unknown},
	} {
		if got := Covered([]Rule{tc.rule}, tc.host).Rules[0].Here; got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestCovered(t *testing.T) {
	c := Covered([]Rule{
		aRule("kinsing-command"),
		aRule("untested", func(r *Rule) {
			r.Tests, r.Techniques, r.Reads = nil, []Technique{T1609, "T1611"}, []string{"programs"}
		}),
		aRule("kinsing", func(r *Rule) { r.Techniques = nil }),
	}, Host{Have: []Need{NeedDocker}})
	technique := func(id Technique) TechniqueCover {
		return c.Techniques[slices.IndexFunc(c.Techniques, func(t TechniqueCover) bool { return t.ID == id })]
	}
	want := Cover{
		Rules: []string{"kinsing-command", "untested"}, Tested: []string{"kinsing-command"},
		Command: []string{"kinsing-command"}, Process: []string{"untested"}, Here: Yes,
	}
	if diff := cmp.Diff(want, technique(T1609).Cover); diff != "" {
		t.Errorf("T1609 (-want +got):\n%s", diff)
	}
	if got := technique("T1611"); got.Here != No || len(got.Tested) != 0 || !slices.Contains(got.Channels, "DK-PLUGIN") {
		t.Errorf("T1611: %+v", got)
	}
	if got := technique("T1525"); len(got.Rules) != 0 || got.Here != "" {
		t.Errorf("a technique without rule: %+v", got)
	}
	for _, p := range c.Procedures {
		if n := map[string]int{"Kinsing": 1}[p.Name]; len(p.Rules) != n {
			t.Errorf("%s has rules %v", p.Name, p.Rules)
		}
	}
	if len(c.Channels) != len(Channels()) {
		t.Errorf("%d channels", len(c.Channels))
	}
	for _, x := range c.Channels {
		if carried := x.ID == "DK-EXEC" || x.ID == "DK-TCP" || x.ID == "DK-SOCKMOUNT"; carried != (len(x.Rules) == 3) {
			t.Errorf("%s: rules %v", x.ID, x.Rules)
		}
	}
	only := c.Only("T1611")
	if len(only.Techniques) != 1 || len(only.Rules) != 1 || len(only.Channels) != len(technique("T1611").Channels) {
		t.Errorf("only T1611: %+v", only)
	}
}

// The layer is one that Navigator takes: the fields of each object, with their
// types, as its format 4.5 has them.
func TestLayer(t *testing.T) {
	c := Covered([]Rule{aRule("a"), aRule("b", func(r *Rule) { r.Techniques, r.Tests = []Technique{"T1611"}, nil })}, Host{Have: []Need{NeedDocker}})
	data, err := json.Marshal(c.Layer("about it"))
	if err != nil {
		t.Fatal(err)
	}
	var layer map[string]any
	if err := json.Unmarshal(data, &layer); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range checkLayer(layer) {
		t.Error(wrong)
	}
	got := map[string]float64{}
	for _, x := range layer["techniques"].([]any) {
		x := x.(map[string]any)
		got[x["techniqueID"].(string)] = x["score"].(float64)
	}
	for id, score := range map[string]float64{"T1609": 3, "T1611": 1, "T1525": 0} {
		if got[id] != score {
			t.Errorf("%s has score %v, want %v", id, got[id], score)
		}
	}
	if c := Covered([]Rule{aRule("a")}, AnyHost()); c.Techniques[slices.IndexFunc(c.Techniques, func(t TechniqueCover) bool { return t.ID == T1609 })].score() != 2 {
		t.Error("a technique that nobody looked for on the host is not seen there")
	}
}

func TestCheckLayerFails(t *testing.T) {
	data, _ := json.Marshal(Covered(nil, AnyHost()).Layer("about it"))
	for name, change := range map[string][2]string{
		"version of the format": {`"layer":"4.5"`, `"layer":"4.4"`},
		"old navigator":         {`"navigator":"5.2.0"`, `"navigator":"4.8.2"`},
		"domain":                {`"enterprise-attack"`, `"enterprise"`},
		"unknown key":           {`"sorting":`, `"sorted":`},
		"technique":             {`"techniqueID":"T1609"`, `"techniqueID":"1609"`},
		"score":                 {`"score":0`, `"score":4`},
		"type":                  {`"score":0`, `"score":"0"`},
		"colour":                {`#33a02c`, `green`},
		"no name":               {`"name":"Sallyport: T1609 and neighbours",`, ``},
		"gradient":              {`"maxValue":3`, `"maxValue":0`},
		"empty metadata":        {`"value":"no rule"`, `"value":""`},
		"layout":                {`"layout":"side"`, `"layout":"wide"`},
	} {
		var layer map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(string(data), change[0], change[1])), &layer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(checkLayer(layer)) == 0 {
			t.Errorf("%s: nothing wrong with it", name)
		}
	}
}

// format has the objects of the layer format, as far as layers of this package
// use them: by object its fields, each with its type, "!" for a required one.
var format = map[string]map[string]string{
	"layer": {
		"name": "string!", "versions": "versions", "domain": "string!", "description": "string", "sorting": "number",
		"layout": "layout", "techniques": "[]technique", "gradient": "gradient", "legendItems": "[]legend", "metadata": "[]metadata",
		"hideDisabled": "bool",
	},
	"versions":  {"attack": "string", "navigator": "string!", "layer": "string!"},
	"layout":    {"layout": "string", "showID": "bool", "showName": "bool", "expandedSubtechniques": "string"},
	"technique": {"techniqueID": "string!", "tactic": "string", "comment": "string", "enabled": "bool", "score": "number", "color": "string", "metadata": "[]metadata"},
	"gradient":  {"colors": "[]string!", "minValue": "number!", "maxValue": "number!"},
	"legend":    {"label": "string!", "color": "string!"},
	"metadata":  {"name": "string!", "value": "string!"},
}

// checkLayer returns what is wrong with a layer.
func checkLayer(layer map[string]any) []string {
	wrong := typed("layer", layer, "layer")
	if len(wrong) > 0 {
		return wrong
	}
	say := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	versions, gradient := layer["versions"].(map[string]any), layer["gradient"].(map[string]any)
	say(versions["layer"] == "4.5", "layer version %v", versions["layer"])
	var major, minor int
	_, err := fmt.Sscanf(versions["navigator"].(string), "%d.%d.", &major, &minor)
	say(err == nil && (major > 4 || major == 4 && minor >= 9), "navigator version %v is below 4.9.0", versions["navigator"])
	say(slices.Contains([]any{"enterprise-attack", "mobile-attack", "ics-attack"}, layer["domain"]), "domain %v", layer["domain"])
	layout := layer["layout"].(map[string]any)
	say(slices.Contains([]any{"side", "flat", "mini"}, layout["layout"]), "layout %v", layout["layout"])
	say(slices.Contains([]any{"none", "all", "annotated"}, layout["expandedSubtechniques"]), "subtechniques %v", layout["expandedSubtechniques"])
	low, high := gradient["minValue"].(float64), gradient["maxValue"].(float64)
	say(high > low, "gradient from %v to %v", low, high)
	colours := gradient["colors"].([]any)
	say(len(colours) >= 2, "%d colours", len(colours))
	for _, l := range layer["legendItems"].([]any) {
		colours = append(colours, l.(map[string]any)["color"])
	}
	for _, c := range colours {
		say(regexp.MustCompile(`^#[0-9a-fA-F]{6}$`).MatchString(c.(string)), "colour %v", c)
	}
	for _, x := range layer["techniques"].([]any) {
		x := x.(map[string]any)
		id, score := x["techniqueID"].(string), x["score"].(float64)
		say(regexp.MustCompile(`^T\d{4}(\.\d{3})?$`).MatchString(id), "technique %q", id)
		say(score >= low && score <= high, "%s: score %v", id, score)
	}
	return wrong
}

// typed compares a value with a type of format.
func typed(at string, v any, typ string) []string {
	switch v := v.(type) {
	case map[string]any:
		var wrong []string
		for k := range v {
			if format[typ][k] == "" {
				wrong = append(wrong, at+" has no field "+k)
			}
		}
		for k, t := range format[typ] {
			t, required := strings.CutSuffix(t, "!")
			if x, ok := v[k]; ok {
				wrong = append(wrong, typed(at+"."+k, x, t)...)
			} else if required {
				wrong = append(wrong, at+" lacks "+k)
			}
		}
		if format[typ] == nil {
			wrong = append(wrong, at+" is an object")
		}
		return wrong
	case []any:
		elem, ok := strings.CutPrefix(typ, "[]")
		if !ok {
			return []string{at + " is a list"}
		}
		var wrong []string
		for i, x := range v {
			wrong = append(wrong, typed(fmt.Sprintf("%s[%d]", at, i), x, elem)...)
		}
		return wrong
	case string:
		if v == "" && typ == "string" {
			return []string{at + " is empty"}
		}
	}
	if got := map[string]string{"string": "string", "float64": "number", "bool": "bool"}[fmt.Sprintf("%T", v)]; got != typ {
		return []string{fmt.Sprintf("%s is a %s, want %s", at, got, typ)}
	}
	return nil
}
