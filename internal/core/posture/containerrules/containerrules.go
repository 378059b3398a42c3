// Package containerrules holds what scan reports of containers, whoever runs them: what
// is in their images (SP-IMG-001 and on), and what of the Pod Security Standards pods are
// against (SP-PSS-001 and on). Ids are never used for something else. The package is pure.
package containerrules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Found is a finding, and where what it is about stands.
type Found struct {
	finding.Finding
	At inventory.Origin
}

const leaner = "build on a base without them (distroless, scratch), in stages that leave the tools behind; an ephemeral container brings its own"

// The rules of images. Each is one finding for an image, however many containers have it.
var (
	brings = posture.Rule{
		ID: "SP-IMG-001", Severity: finding.Low, Title: "An image has a package manager, a downloader or a compiler",
		Remedy: leaner, Attack: []attack.Technique{attack.T1609, "T1105"}, CIS: []string{"docker 4.3"},
	}
	runs = posture.Rule{
		ID: "SP-IMG-002", Severity: finding.Info, Title: "An image has a shell or an interpreter",
		Remedy: leaner, Attack: []attack.Technique{attack.T1609, "T1059.004"}, CIS: []string{"docker 4.3"},
	}
	commands = posture.Rule{
		ID: "SP-IMG-003", Severity: finding.Low, Title: "An image has a client of container engines or clusters",
		Remedy: leaner, Attack: []attack.Technique{attack.T1609, "T1613"}, CIS: []string{"docker 4.3"},
	}
	raises = posture.Rule{
		ID: "SP-IMG-004", Severity: finding.Info, Title: "A container may use programs with more rights than its user",
		Remedy: "set allowPrivilegeEscalation: false or no-new-privileges, and RUN chmod a-s on them in the image",
		Attack: []attack.Technique{attack.T1609}, CIS: []string{"docker 4.8"},
	}
)

// The rules of pods. Each pod or workload has one finding at most, of the lower level.
var (
	baseline = posture.Rule{
		ID: "SP-PSS-001", Severity: finding.Medium, Title: "A pod is against the Pod Security level baseline",
		Remedy: "leave out what is named; then kubectl label namespace NAMESPACE pod-security.kubernetes.io/enforce=baseline keeps it out",
		Attack: []attack.Technique{attack.T1609},
		CIS:    []string{"kubernetes 5.2.2", "kubernetes 5.2.3", "kubernetes 5.2.4", "kubernetes 5.2.5", "kubernetes 5.2.10", "kubernetes 5.2.11", "kubernetes 5.2.12"},
	}
	restricted = posture.Rule{
		ID: "SP-PSS-002", Severity: finding.Info, Title: "A pod is against the Pod Security level restricted",
		Remedy: "set what is named in its securityContext; then kubectl label namespace NAMESPACE pod-security.kubernetes.io/enforce=restricted keeps it so",
		Attack: []attack.Technique{attack.T1609}, CIS: []string{"kubernetes 5.2.6", "kubernetes 5.2.7", "kubernetes 5.2.8", "kubernetes 5.2.9"},
	}
)

// Rules lists all rules, in order of their ids.
func Rules() []posture.Rule {
	return []posture.Rule{brings, runs, commands, raises, baseline, restricted}
}

// Check returns what is found of an inventory's containers. Images that nobody looked into, and pods that nobody held against the standards, have no
// findings: the inventory says what was not read.
func Check(i *inventory.Inventory) []Found {
	var out []Found
	for _, img := range images(i) {
		out = append(out, img.findings()...)
	}
	if i.Cluster != nil {
		out = append(out, pods(i.Cluster)...)
	}
	for n := range out {
		out[n].Time = i.Time
	}
	return out
}

// image is an image with the containers that have it.
type image struct {
	name   string
	inside *inventory.Inside
	count  int
	at     inventory.Origin
	// raises are containers in which programs give more rights than the user has.
	raises []string
}

// looked reports whether any image was looked into: large clusters are scanned without.
func looked(i *inventory.Inventory) bool {
	inside := func(c inventory.Container) bool { return c.Inside != nil }
	return slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool {
		return slices.ContainsFunc(h.Running, func(c inventory.DockerOrCRI) bool { return inside(c.Container) })
	}) || i.Cluster != nil && slices.ContainsFunc(i.Cluster.Pods, func(p inventory.Pod) bool { return slices.ContainsFunc(p.Containers, inside) })
}

// images lists those that were looked into, by their names.
func images(i *inventory.Inventory) []*image {
	if !looked(i) {
		return nil
	}
	byName, all := map[string]*image{}, gain.All(i)
	for n := range all {
		c := &all[n]
		if c.Inside == nil {
			continue
		}
		name := cmp.Or(c.Image, c.Inside.Image)
		img := byName[name]
		if img == nil {
			img = &image{name: name, inside: c.Inside, at: c.At}
			byName[name] = img
		}
		img.count += max(1, c.Pods)
		if c.MayRise() {
			img.raises = append(img.raises, c.Subject+" "+c.Container)
		}
	}
	out := make([]*image, 0, len(byName))
	for _, img := range byName {
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b *image) int { return strings.Compare(a.name, b.name) })
	return out
}

func (i *image) findings() (out []Found) {
	in := i.inside
	add := func(r *posture.Rule, does string, lists ...[]string) {
		if list := slices.Concat(lists...); len(list) > 0 {
			out = append(out, i.finding(r, does, list))
		}
	}
	add(&brings, "has", in.Packages, in.Downloaders, in.Compilers)
	add(&runs, "has", in.Shells, in.Interpreters)
	add(&commands, "has", in.Clients)
	if len(i.raises) > 0 {
		add(&raises, "gives "+several(i.raises)+" the rights of", in.SetUID, in.Capable)
	}
	return out
}

// finding is one about an image that does something with programs.
func (i *image) finding(r *posture.Rule, does string, list []string) Found {
	slices.Sort(list)
	list = slices.Compact(list)
	f := Found{At: i.at, Finding: finding.Finding{
		Subject: "image " + i.name, Target: &finding.Target{Image: i.name},
		Message:  fmt.Sprintf("Image %s (in %s) %s %s", i.name, containers(i.count), does, several(list)),
		Evidence: []finding.Evidence{{Source: "image " + i.inside.Image, What: strings.Join(list[:min(len(list), evidenceMax)], ", "), Detail: "known by its " + string(i.inside.By)}},
	}}
	r.Complete(&f.Finding)
	return f
}

// evidenceMax bounds the programs that a finding names.
const evidenceMax = 32

func containers(n int) string {
	if n == 1 {
		return "1 container"
	}
	return fmt.Sprintf("%d containers", n)
}

// several names at most three of what there is.
func several(list []string) string {
	const most = 3
	out := strings.Join(list[:min(len(list), most)], ", ")
	if n := len(list) - most; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// pods lists what pods are against, one finding for each workload.
func pods(c *inventory.Cluster) (out []Found) {
	levels := map[string]string{}
	for n := range c.Namespaces {
		levels[c.Namespaces[n].Name] = c.Namespaces[n].Enforce
	}
	seen := map[finding.ID]bool{}
	for n := range c.Pods {
		p := &c.Pods[n]
		f := ofPod(p, levels[p.Namespace])
		if f != nil && !seen[f.ID] {
			seen[f.ID] = true
			out = append(out, *f)
		}
	}
	return out
}

// ofPod is what a pod is against; nil when that is nothing. level is what its namespace
// enforces.
func ofPod(p *inventory.Pod, level string) *Found {
	s := p.Security
	if s == nil || len(s.Baseline)+len(s.Restricted) == 0 {
		return nil
	}
	rule, name, list, refused := &restricted, "restricted", s.Restricted, level == "restricted"
	if len(s.Baseline) > 0 {
		rule, name, list, refused = &baseline, "baseline", s.Baseline, level == "restricted" || level == "baseline"
	}
	f := &Found{At: p.Origin}
	f.Subject = "pod " + p.Namespace + "/" + cmp.Or(p.Workload, p.Name)
	f.Target = &finding.Target{Namespace: p.Namespace, Pod: p.Name, Workload: p.Workload}
	f.Message = fmt.Sprintf("%s is against %s of Pod Security %d.%d: %s", f.Subject, name, s.Version.Major, s.Version.Minor, several(list))
	if refused {
		f.Message += ". Its namespace enforces " + level + ": it would be refused if it were made anew"
	}
	f.Remedy = strings.Replace(rule.Remedy, "NAMESPACE", p.Namespace, 1)
	for _, b := range s.Baseline {
		f.Evidence = append(f.Evidence, finding.Evidence{Source: "Pod Security baseline", What: b})
	}
	for _, b := range s.Restricted {
		f.Evidence = append(f.Evidence, finding.Evidence{Source: "Pod Security restricted", What: b})
	}
	rule.Complete(&f.Finding)
	return f
}
