package procedures

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Machine is what of the machine that made a recording does not belong in it.
type Machine struct {
	Hostname string
	// Replace has pairs, old and new, as strings.NewReplacer takes them: paths.
	Replace []string
}

// Scrub returns a recording without what other daemons of the same machine did
// meanwhile, which the kernel tells of, too, and without names of the machine.
// What it keeps it keeps as it was.
func Scrub(all []event.Observation, m Machine) ([]event.Observation, error) {
	replace := strings.NewReplacer(m.Replace...)
	own := ownOf(all, replace)
	var out []event.Observation
	for _, o := range all {
		if !own.keeps(o) {
			continue
		}
		switch p := o.(type) {
		case event.Host:
			if p.Hostname == m.Hostname {
				p.Hostname = "node1"
			}
			p.BootID, p.Kernel, p.Users = "boot", "", map[uint32]string{0: "root"}
			o = p
		case event.SessionEntry:
			p.Lineage = upToShim(p.Lineage)
			o = p
		}
		line, err := event.Marshal(o)
		if err != nil {
			return nil, err
		}
		if o, err = event.Unmarshal([]byte(replace.Replace(string(line)))); err != nil {
			return nil, fmt.Errorf("scrub %s: %w", event.Name(o), err)
		}
		out = append(out, o)
	}
	return out, nil
}

// upToShim cuts what a shim descends from: that is how the machine was started.
func upToShim(all []event.Ancestor) []event.Ancestor {
	for i, a := range all {
		if strings.HasPrefix(string(a.Comm), "containerd-shim") {
			return all[:i+1]
		}
	}
	return all
}

// own is what belongs to the daemons of the test bed.
type own struct {
	containers map[event.ContainerID]bool
	entries    map[event.ProcessID]bool
	foreign    map[event.ConnID]bool
}

// beds stands in the paths of every engine and cluster of the test bed. What has
// one after all own paths were replaced is another's.
const beds = "/sp-"

func ownOf(all []event.Observation, replace *strings.Replacer) *own {
	w := &own{map[event.ContainerID]bool{}, map[event.ProcessID]bool{}, map[event.ConnID]bool{}}
	cluster := false
	for _, o := range all { // what the services tell of is theirs
		switch o := o.(type) {
		case event.KubePod:
			cluster = true
		case event.DockerEvent:
			w.containers[o.Container] = true
		case event.DockerContainer:
			w.containers[o.ID] = true
		case event.RuntimeEvent:
			w.containers[o.Container] = true
		case event.RuntimeTask:
			w.containers[o.Container] = true
		case event.RuntimeContainer:
			w.containers[o.ID] = true
		}
	}
	for _, o := range all {
		switch o := o.(type) {
		case event.SessionEntry:
			if w.containers[o.Container] {
				w.entries[o.Root] = true
			}
		case event.ProcessExec: // the birth of a container names it here first
			if w.containers[o.Container] {
				w.entries[o.Entry] = true
			}
		case event.ClientConnect:
			words := append([]string{o.Socket, string(o.Peer.Exe)}, o.Peer.Argv.Args...)
			w.foreign[o.Conn] = o.Service == event.ServiceKubelet && !cluster || strings.Contains(replace.Replace(strings.Join(words, " ")), beds)
		}
	}
	return w
}

// keeps reports whether an observation is about what belongs here.
func (w *own) keeps(o event.Observation) bool {
	switch o := o.(type) {
	case event.SessionEntry:
		return w.entries[o.Root]
	case event.ProcessExec:
		return w.entries[o.Entry]
	case event.ProcessFork:
		return w.entries[o.Entry]
	case event.ProcessExit:
		return w.entries[o.Entry]
	case event.ClientConnect:
		return !w.foreign[o.Conn]
	case event.ClientClose:
		return !w.foreign[o.Conn]
	case event.DockerRequest:
		return !w.foreign[o.ID.Conn]
	case event.DockerAnswer:
		return !w.foreign[o.ID.Conn]
	case event.RuntimeRequest:
		return !w.foreign[o.ID.Conn]
	}
	return true
}

// Containers lists the containers that a recording tells of by what it tells
// their names: those of pods by the pod's.
func Containers(all []event.Observation) map[event.ContainerID]string {
	out := make(map[event.ContainerID]string)
	for _, o := range all {
		switch o := o.(type) {
		case event.DockerContainer:
			out[o.ID] = o.Name
		case event.KubePod:
			for _, c := range o.Containers {
				if c.ID != "" {
					out[c.ID] = o.Name
				}
			}
		}
	}
	return out
}
