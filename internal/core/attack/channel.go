package attack

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Channel is one row of the catalogue: a way by which a command gets into a
// container, and the doors at which it can be seen in principle.
type Channel struct {
	ID     event.Channel `json:"id"`
	Family Family        `json:"family"`
	Way    string        `json:"way"` // in one line, for a person
	// Planned says at which door the channel can be observed at all, by this
	// or a later version.
	Planned Door `json:"planned"`
	// Carried says that the row is a way to reach or alter another channel:
	// its process side is that of the channel it carries.
	Carried    bool        `json:"carried,omitempty"`
	Note       string      `json:"note,omitempty"` // what qualifies Planned
	Techniques []Technique `json:"techniques"`
}

// Family groups channels by the system they go through.
type Family string

// The families.
const (
	FamilyDocker     Family = "docker"
	FamilyKubernetes Family = "kubernetes"
	FamilyKubelet    Family = "kubelet"
	FamilyRuntime    Family = "runtime"
	FamilyHost       Family = "host"
	FamilyWindows    Family = "windows"
	FamilyCloud      Family = "cloud"
)

// prefixes gives the beginning of the ids of each family.
var prefixes = map[Family]string{
	FamilyDocker:     "DK-",
	FamilyKubernetes: "K8-",
	FamilyKubelet:    "KL-",
	FamilyRuntime:    "RT-",
	FamilyHost:       "HO-",
	FamilyWindows:    "WN-",
	FamilyCloud:      "CL-",
}

// Families lists the families in the order of the catalogue.
func Families() []Family {
	return []Family{
		FamilyDocker, FamilyKubernetes, FamilyKubelet, FamilyRuntime,
		FamilyHost, FamilyWindows, FamilyCloud,
	}
}

// Door is where a channel leaves evidence.
type Door string

// The doors.
const (
	DoorService Door = "service" // a daemon, an API server, a cloud log
	DoorProcess Door = "process" // the kernel
	DoorBoth    Door = "both"
	DoorNeither Door = "neither"
)

//go:embed channels.json
var channelsJSON []byte

// Channels returns the catalogue in its own order.
func Channels() []Channel {
	channels, err := parseChannels(channelsJSON)
	if err != nil {
		panic(err) // embedded and tested: cannot happen in a built program
	}
	return channels
}

func parseChannels(data []byte) ([]Channel, error) {
	var channels []Channel
	if err := strict(data, &channels); err != nil {
		return nil, fmt.Errorf("parse channels: %w", err)
	}
	seen := make(map[event.Channel]bool)
	for _, c := range channels {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("parse channels: %s: %w", c.ID, err)
		}
		if seen[c.ID] {
			return nil, fmt.Errorf("parse channels: %s appears twice", c.ID)
		}
		seen[c.ID] = true
	}
	return channels, nil
}

func (c Channel) check() error {
	prefix, ok := prefixes[c.Family]
	switch {
	case !ok:
		return fmt.Errorf("unknown family %q", c.Family)
	case !strings.HasPrefix(string(c.ID), prefix) || len(c.ID) == len(prefix):
		return fmt.Errorf("id of family %s does not begin with %q", c.Family, prefix)
	case c.Way == "":
		return errors.New("no way")
	case !slices.Contains([]Door{DoorService, DoorProcess, DoorBoth, DoorNeither}, c.Planned):
		return fmt.Errorf("unknown door %q", c.Planned)
	case len(c.Techniques) == 0:
		return errors.New("no technique")
	}
	for _, t := range c.Techniques {
		if t.Name() == "" {
			return fmt.Errorf("unknown technique %q", t)
		}
	}
	return nil
}

// strict decodes one JSON value of which every field is known to v, and
// nothing after it.
func strict(data []byte, v any) error {
	if !json.Valid(data) { // the decoder would pass over what follows the value
		return errors.New("not one JSON value")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
