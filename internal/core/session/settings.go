package session

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/jsonform"
)

// Settings are what a request asks for besides the command and what of the host is
// given: where it runs, with which variables, how confined. Only a guard's door
// tells them. All lists are in order and without repetitions.
type Settings struct {
	// Dir is the working directory; of an exec that names none, the container's.
	Dir string `json:"dir,omitempty"`
	// Variables are the names of environment variables: of an exec those that it
	// sets itself, of a container also its image's. Values may be secrets.
	Variables []string `json:"variables,omitempty"`
	// Security are the security options, as "seccomp=unconfined". A value that is
	// long is "sha256:" and its hash; "systempaths=unconfined" says that paths which
	// the runtime masks or makes read-only are others than usual.
	Security []string `json:"security,omitempty"`
	// Sysctls are "NAME=VALUE".
	Sysctls []string `json:"sysctls,omitempty"`
	// DeviceRules are rules of the device cgroup, as "c 1:3 rwm".
	DeviceRules  []string `json:"device_rules,omitempty"`
	CgroupParent string   `json:"cgroup_parent,omitempty"`
	// Joined are what is had in common with other containers, as "pid:CONTAINER":
	// "network", "pid" or "ipc", and "volumes"; of Podman "uts", "user" and "pod", too.
	// CONTAINER is the id where the door could ask for it.
	Joined []string `json:"joined,omitempty"`
}

// Tidy puts the lists in order.
func (s *Settings) Tidy() {
	for _, list := range []*[]string{&s.Variables, &s.Security, &s.Sysctls, &s.DeviceRules, &s.Joined} {
		slices.Sort(*list)
		if *list = slices.Compact(*list); len(*list) == 0 {
			*list = nil
		}
	}
}

// Within reports whether s asks for nothing that limit does not, as to how it is
// confined. Directory and variables, which confine nothing, are not compared. Nobody
// knows of a nil one.
func (s *Settings) Within(limit *Settings) bool {
	if s == nil || limit == nil {
		return s == limit
	}
	for _, list := range [][2][]string{
		{s.Security, limit.Security}, {s.Sysctls, limit.Sysctls}, {s.DeviceRules, limit.DeviceRules}, {s.Joined, limit.Joined},
	} {
		for _, one := range list[0] {
			if !slices.Contains(list[1], one) {
				return false
			}
		}
	}
	return s.CgroupParent == limit.CgroupParent
}

func (s *Settings) write(w *jsonform.Writer) {
	if s == nil {
		return
	}
	w.Name("settings")
	w.Begin()
	w.SomeText("dir", s.Dir)
	w.SomeTexts("variables", s.Variables)
	w.SomeTexts("security", s.Security)
	w.SomeTexts("sysctls", s.Sysctls)
	w.SomeTexts("device_rules", s.DeviceRules)
	w.SomeText("cgroup_parent", s.CgroupParent)
	w.SomeTexts("joined", s.Joined)
	w.End()
}
