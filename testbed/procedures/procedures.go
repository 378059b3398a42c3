// Package procedures plays the procedures that ATT&CK lists for T1609, by
// harmless stand-ins (see standin), on a real Docker engine and a real cluster:
// Kinsing and TeamTNT on the one, Hildegard, Peirates and Siloscape on the
// other. What they ask services for and the programs that run are of the shape
// of the procedure; what those do is nothing. Everything stays in network
// namespaces without a way out, and no address, name or hash is anybody's.
//
// Beside them people do what people do, in containers of their own, called
// neighbour: an administrator's exec, an installation by hand, health checks
// and probes. Nothing may be said of those.
//
// Command record makes the recordings that rules/testdata/procedures holds.
package procedures

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
)

// The names of the procedures, as those of their rules begin.
const (
	Hildegard = "hildegard"
	Kinsing   = "kinsing"
	Peirates  = "peirates"
	Siloscape = "siloscape"
	TeamTNT   = "teamtnt"
)

// Names lists them.
var Names = []string{Hildegard, Kinsing, Peirates, Siloscape, TeamTNT}

// OfOne reports whether a rule is one of a procedure's.
func OfOne(rule string) bool {
	name, _, _ := strings.Cut(rule, "-")
	return slices.Contains(Names, name)
}

// Named returns the rules of one procedure among ids, sorted and each once.
func Named(procedure string, ids []string) []string {
	var out []string
	for _, id := range ids {
		if strings.HasPrefix(id, procedure+"-") {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Neighbour reports whether a container, pod or node of that name is none of a
// procedure's.
func Neighbour(name string) bool { return strings.HasPrefix(name, "neighbour") }

// AboutNeighbour reports whether a finding is about a neighbour, or says that it
// did something. names has the names of containers.
func AboutNeighbour(f finding.Finding, names map[event.ContainerID]string) bool {
	if f.Actor != nil && (f.Actor.Name == "alice" || Neighbour(strings.TrimPrefix(f.Actor.Name, "system:node:"))) {
		return true
	}
	t := f.Target
	return t != nil && slices.ContainsFunc([]string{names[t.ContainerID], t.ContainerName, t.Pod, t.Node}, Neighbour)
}

// Source is one of ATT&CK's data sources of T1609.
type Source string

// The data sources, and both of them.
const (
	// Command is what services tell: what was asked of them, by whom, and what
	// they made of it. No kernel is asked.
	Command Source = "command" // DS0017
	// Process is what the kernel tells of processes, and nothing else: neither
	// who is connected to a service nor what is asked there.
	Process Source = "process" // DS0009
	// Both is everything.
	Both Source = "both"
)

// Sources lists them.
var Sources = []Source{Command, Process, Both}

// Only returns what of a recording a source has.
func Only(s Source, all []event.Observation) []event.Observation {
	var out []event.Observation
	for _, o := range all {
		if o = s.part(o); o != nil {
			out = append(out, o)
		}
	}
	return out
}

// processWitnesses tell of processes.
var processWitnesses = []event.Witness{event.WitnessKernel, event.WitnessSysmon, event.WitnessSecurity}

// part returns o, what the source has of it, or nil.
func (s Source) part(o event.Observation) event.Observation {
	w := o.Head().Witness
	if s == Both || w == event.WitnessEngine {
		return o
	}
	if processes := slices.Contains(processWitnesses, w); processes != (s == Process) {
		return nil
	}
	if s == Command {
		return o
	}
	switch o := o.(type) {
	case event.WitnessState:
		o.Peers, o.Requests, o.Ports, o.Kubelets, o.TCPDoors = false, false, nil, nil, nil
		return o
	case event.SessionEntry, event.ProcessExec, event.ProcessFork, event.ProcessExit, event.Loss:
		return o
	}
	return nil
}
