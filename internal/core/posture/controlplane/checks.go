package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// kubelet looks at a kubelet. Whoever needs no name where nothing is asked can run
// commands in every container of the node; one of the two alone is less.
func (c *checker) kubelet(k *inventory.Kubelet, subject string) {
	a := about{subject, k.Origin, k.Set}
	open := k.Authorization == "AlwaysAllow"
	anonymous, all := kubeletAnonymous.With(finding.Medium), kubeletAllowsAll.With(finding.High)
	says := "Whoever reaches the port is system:anonymous, and gets what the API server allows that user."
	if open && k.Anonymous == inventory.Yes {
		says = "Whoever reaches the port can run commands in every container of the node."
		if k.Debugging == inventory.No {
			says = "Whoever reaches the port reads what runs on the node; commands are off (enableDebuggingHandlers)."
		} else {
			anonymous, all = kubeletAnonymous.With(finding.Critical), kubeletAllowsAll.With(finding.Critical)
		}
	}
	c.answer(anonymous, &a, "authentication.anonymous.enabled", k.Anonymous, inventory.Yes, says)
	switch k.Authorization {
	case "AlwaysAllow":
		c.report(all, &a, "authorization.mode", "Whoever the kubelet takes for somebody can run commands in every container of the node; RBAC is not asked.")
	case "":
		c.unknown(all, &a, "authorization.mode")
	}
	if k.ClientCA == "" {
		c.report(&kubeletNoCA, &a, "authentication.x509.clientCAFile", "No CA is set: client certificates, the API server's among them, count for nothing.")
	}
	switch {
	case k.ReadOnlyPort == nil:
		c.unknown(&kubeletReadOnly, &a, "readOnlyPort")
	case *k.ReadOnlyPort != 0:
		c.report(&kubeletReadOnly, &a, "readOnlyPort", fmt.Sprintf("Port %d tells whoever asks which pods run, with their environment.", *k.ReadOnlyPort))
	}
	c.answer(&kubeletRotate, &a, "rotateCertificates", k.RotateCerts, inventory.No, "A stolen certificate is good until it expires, and so is the kubelet's own.")
	c.answer(&kubeletSeccomp, &a, "seccompDefault", k.SeccompDefault, inventory.No, "A pod that asks for no profile may make any system call.")
}

// apiServer looks at an API server's settings.
func (c *checker) apiServer(s *inventory.APIServer, subject string) {
	a := about{subject, s.Origin, s.Set}
	if len(s.AnonymousPaths) == 0 {
		c.answer(&serverAnonymous, &a, "anonymous-auth", s.Anonymous, inventory.Yes,
			"Bindings to system:unauthenticated or system:anonymous are open to whoever reaches the server.")
	}
	c.answer(&serverTokenFile, &a, "token-auth-file", s.TokenFile, inventory.Yes, "")
	c.answer(&serverKubeletCA, &a, "kubelet-certificate-authority", s.KubeletCA, inventory.No,
		"Whoever can answer in a kubelet's place reads and changes what is run and what comes back.")
	c.authorization(s, &a)
	c.admission(s, &a)
	c.answer(&serverProfiling, &a, "profiling", s.Profiling, inventory.Yes, "")
	c.audit(s, &a)
	if s.Public == inventory.Yes { // unknown where no provider was asked, which is no gap of settings
		c.report(&serverPublic, &a, "public endpoint", "From the provider's description: "+orNone(s.Ranges))
	}
}

func orNone(ranges []string) string {
	if len(ranges) == 0 {
		return "no ranges bound it."
	}
	return "it is bound to " + strings.Join(ranges, ", ") + "."
}

// mode is the flag by whose name the modes of authorisation are reported.
const mode = "authorization-mode"

func (c *checker) authorization(s *inventory.APIServer, a *about) {
	if len(s.Authorization) == 0 {
		for _, r := range []*posture.Rule{&serverAllowsAll, &serverNoRBAC, &serverNoNode} {
			c.unknown(r, a, mode)
		}
		return
	}
	modes := "The modes are " + strings.Join(s.Authorization, ", ") + "."
	if slices.Contains(s.Authorization, "AlwaysAllow") {
		c.report(&serverAllowsAll, a, mode, modes)
		return // the others follow from it
	}
	if !slices.Contains(s.Authorization, "RBAC") {
		c.report(&serverNoRBAC, a, mode, modes)
	}
	if !slices.Contains(s.Authorization, "Node") {
		c.report(&serverNoNode, a, mode, modes)
	}
}

func (c *checker) admission(s *inventory.APIServer, a *about) {
	const on, off = "enable-admission-plugins", "disable-admission-plugins"
	if s.Profiling == inventory.Unknown { // its flags were not read
		for _, r := range []*posture.Rule{&serverNoRestriction, &serverAdmitsAll, &serverNoPodSecurity} {
			c.unknown(r, a, on)
		}
		return
	}
	if !slices.Contains(s.Admission, "NodeRestriction") {
		c.report(&serverNoRestriction, a, on, "Who has a kubelet's credentials may relabel its node and touch other nodes' pods.")
	}
	if slices.Contains(s.Admission, "AlwaysAdmit") {
		c.report(&serverAdmitsAll, a, on, "")
	}
	if slices.Contains(s.AdmissionOff, "PodSecurity") {
		c.report(&serverNoPodSecurity, a, off, "")
	}
}

func (c *checker) audit(s *inventory.APIServer, a *about) {
	const policy = "audit-policy-file"
	p := s.AuditPolicy
	switch {
	case p == nil || p.Exec == "":
		c.unknown(&serverExecUnrecorded, a, policy)
		c.unknown(&serverAuditSilent, a, policy)
	case p.Exec == "None":
		c.report(&serverExecUnrecorded, a, policy, strings.Join(p.Silent, "; ")+".")
	case len(p.Silent) > 0:
		c.report(&serverAuditSilent, a, policy, strings.Join(p.Silent, "; ")+".")
	}
}

// The permission bits of others than a file's owner.
const (
	groupOrOthersRead  = 0o044
	groupOrOthersWrite = 0o022
	othersRead         = 0o004
)

// files looks at who may read credentials, and write what a kubelet obeys.
func (c *checker) files(h *inventory.Host) {
	for i := range h.Files {
		f := &h.Files[i]
		subject := "host:" + h.Name + " " + f.Path
		evidence := finding.Evidence{Source: f.Path, What: fmt.Sprintf("mode %04o, owner %d, group %d", f.Mode, f.UID, f.GID)}
		secret := f.What == "kubeconfig" || f.What == "private key"
		power := ""
		if f.Actor != "" {
			power = " Its reader is " + f.Actor + "."
		}
		if secret && f.Mode&groupOrOthersRead != 0 {
			r := fileReadable.With(finding.Medium) // only a group
			if f.Mode&othersRead != 0 {
				r = &fileReadable
			}
			fix := *r
			fix.Remedy = "chmod 600 " + quoted(f.Path)
			c.add(&fix, subject, "A "+f.What+" that others than its owner can read."+power, evidence)
		}
		if f.Mode&groupOrOthersWrite != 0 {
			fix := fileWritable
			fix.Remedy = "chmod go-w " + quoted(f.Path)
			c.add(&fix, subject, "Others than its owner can write it ("+f.What+").", evidence)
		}
		if f.UID != 0 && !homes(f.Path) {
			fix := fileOwner
			fix.Remedy = "chown root:root " + quoted(f.Path)
			c.add(&fix, subject, fmt.Sprintf("User %d owns it (%s).%s", f.UID, f.What, power), evidence)
		}
	}
}

// homes reports whether a file is a person's own.
func homes(path string) bool { return strings.HasPrefix(path, "/home/") }

// quoted writes a path for a shell.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
