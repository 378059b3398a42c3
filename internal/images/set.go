package images

import (
	"cmp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Set is images that were looked into, to be found by what containers say of theirs. Of
// two with the same name the later one counts. The zero value is empty.
type Set struct {
	digests, names map[string]*inventory.Inside
}

// Add takes in images.
func (s *Set) Add(list []Image) {
	if s.digests == nil {
		s.digests, s.names = map[string]*inventory.Inside{}, map[string]*inventory.Inside{}
	}
	for i := range list {
		img := &list[i]
		sure, likely := img.Inside, img.Inside
		sure.By, likely.By = inventory.ByDigest, inventory.ByName
		s.digests[img.ID] = &sure
		for _, d := range img.Digests {
			s.digests[d] = &sure
		}
		for _, n := range img.Names {
			if full := Name(n); full != "" {
				s.names[full] = &likely
			}
		}
	}
}

// Find returns what is in a container's image, nil when it is in no image of the set. By
// digest before by name. Containers with the same image share it.
func (s *Set) Find(c *inventory.Container) *inventory.Inside {
	for _, d := range Digests(c) {
		if in := s.digests[d]; in != nil {
			return in
		}
	}
	return s.names[Name(c.Image)]
}

// Digests returns the digests by which a container's image is known: the one that runs,
// and the one that was asked for.
func Digests(c *inventory.Container) (out []string) {
	asked := c.Image
	if _, behind, ok := strings.Cut(asked, "@"); ok {
		asked = behind
	}
	for _, d := range []string{c.ImageID, asked} {
		if digest.Digest(d).Validate() == nil && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// Name returns an image's full name, with its registry and its tag, as containerd has it:
// "docker.io/library/nginx:latest" of "nginx"; "" when it is no name, or names a digest.
func Name(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	if _, ok := named.(reference.Digested); ok {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// Containers returns every container of an inventory, those that workloads would make
// among them.
func Containers(i *inventory.Inventory) (out []*inventory.Container) {
	for h := range i.Hosts {
		for n := range i.Hosts[h].Running {
			out = append(out, &i.Hosts[h].Running[n].Container)
		}
	}
	c := cmp.Or(i.Cluster, &inventory.Cluster{})
	for n := range c.Pods {
		out = appendOf(out, c.Pods[n].Containers)
	}
	for n := range c.Workloads {
		out = appendOf(out, c.Workloads[n].Containers)
	}
	return out
}

func appendOf(out []*inventory.Container, list []inventory.Container) []*inventory.Container {
	for n := range list {
		out = append(out, &list[n])
	}
	return out
}
