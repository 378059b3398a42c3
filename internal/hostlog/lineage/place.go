package lineage

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Container is what a record says of a container.
type Container struct {
	ID                  event.ContainerID
	Name, Image         string
	Pod, Namespace, UID string
	Node                string
}

// Contained reports what a record says of a container, once for each thing that
// is said.
func (t *Tracker) Contained(at time.Time, c Container) []event.Observation {
	if c.ID == "" || c.Name == "" && c.Image == "" && c.Pod == "" || t.placed[c.ID] == c {
		return nil
	}
	if len(t.placed) >= placedMax {
		clear(t.placed)
	}
	t.placed[c.ID] = c
	out := append(t.greet(at, c.Node), event.RuntimeContainer{
		Header: t.head(at, c.Node), ID: c.ID, Name: c.Name, Image: c.Image,
		Pod: c.Pod, PodNamespace: c.Namespace, PodUID: c.UID,
	})
	if c.Pod != "" && c.Node != "" {
		out = append(out, event.KubePod{
			Header: t.head(at, ""), Namespace: c.Namespace, Name: c.Pod, UID: c.UID, NodeName: c.Node,
		})
	}
	return out
}
