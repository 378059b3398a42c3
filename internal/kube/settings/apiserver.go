package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// The flags of kube-apiserver that are read.
const (
	fAnonymous      = "anonymous-auth"
	fAuthentication = "authentication-config"
	fAuthorization  = "authorization-config"
	fModes          = "authorization-mode"
	fTokens         = "token-auth-file"
	fAdmission      = "enable-admission-plugins"
	fAdmissionOff   = "disable-admission-plugins"
	fAdmissionFile  = "admission-control-config-file"
	fPolicy         = "audit-policy-file"
	fLog            = "audit-log-path"
	fWebhook        = "audit-webhook-config-file"
	fKubeletCA      = "kubelet-certificate-authority"
	fProfiling      = "profiling"
	fGates          = "feature-gates"
)

var apiServerFlags = map[string]flagKind{
	fAnonymous: boolFlag, fAuthentication: textFlag, fAuthorization: textFlag, fModes: listFlag, fTokens: textFlag,
	fAdmission: listFlag, fAdmissionOff: listFlag, fAdmissionFile: textFlag, fPolicy: textFlag, fLog: textFlag,
	fWebhook: textFlag, fKubeletCA: textFlag, fProfiling: boolFlag, fGates: listFlag,
}

// Server is what the flags of an API server, and the files that they name, tell.
type Server struct {
	Settings *inventory.APIServer
	Gates    map[string]bool // those that are set by a flag
	// Unread are files that a flag names and that could not be read: what they decide
	// is unknown.
	Unread []inventory.Unread
}

// server reads an API server step by step.
type server struct {
	Server
	process *Process
	set     map[string]string
}

// APIServer tells the settings of a kube-apiserver that is started so. An error means
// that they are unknown, as it would not start so.
func APIServer(p *Process) (*Server, error) {
	set, err := parseFlags(p.Args, apiServerFlags)
	if err != nil {
		return nil, err
	}
	for name, v := range set {
		if strings.Contains(v, "$(") {
			return nil, fmt.Errorf("--%s=%s: the value of the variable is not known", name, v)
		}
	}
	s := server{process: p, set: set}
	s.Settings = &inventory.APIServer{
		TokenFile: s.given(fTokens), KubeletCA: s.given(fKubeletCA),
		Admission: split(set[fAdmission]), AdmissionOff: split(set[fAdmissionOff]), Origin: p.Origin,
	}
	s.Gates = gates(set[fGates])
	if s.Settings.Profiling, err = s.yes(fProfiling); err != nil {
		return nil, err
	}
	if err := s.authorization(); err != nil {
		return nil, err
	}
	if err := s.anonymous(); err != nil {
		return nil, err
	}
	s.audit()
	s.podSecurity()
	for _, name := range slices.Sorted(maps.Keys(set)) {
		s.Settings.Set = append(s.Settings.Set, inventory.Setting{Name: name, Value: set[name], Origin: p.Origin})
	}
	return &s.Server, nil
}

func (s *server) given(flag string) inventory.Answer { return inventory.AnswerOf(s.set[flag] != "") }

// yes reads a flag that is on unless it is set.
func (s *server) yes(flag string) (inventory.Answer, error) {
	v, ok := s.set[flag]
	if !ok {
		return inventory.Yes, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return inventory.Unknown, fmt.Errorf("--%s: %w", flag, err)
	}
	return inventory.AnswerOf(on), nil
}

// file reads the file that a flag names; nil, and noted, when it cannot be read or
// understood.
func (s *server) file(flag string, part inventory.Part) *document {
	name := s.process.path(s.set[flag])
	data, err := readFile(s.process.Files, name)
	var d *document
	if err == nil {
		d, err = parse(name, 1, data)
	}
	if err != nil {
		s.unread(flag, part, err)
		return nil
	}
	return d
}

func (s *server) unread(flag string, part inventory.Part, err error) {
	s.Unread = append(s.Unread, inventory.Unread{
		What: part, From: s.process.Origin.Source,
		Why:  fmt.Sprintf("--%s %s of kube-apiserver: %v", flag, s.set[flag], err),
		Help: "give the file to a scan with --from, or scan the API server's machine",
	})
}

func (s *server) authorization() error {
	if s.set[fAuthorization] == "" {
		if s.Settings.Authorization = split(s.set[fModes]); len(s.Settings.Authorization) == 0 {
			s.Settings.Authorization = []string{"AlwaysAllow"}
		}
		return nil
	}
	if s.set[fModes] != "" {
		return errors.New("--authorization-config and --authorization-mode exclude each other")
	}
	if d := s.file(fAuthorization, inventory.PartAPIServer); d != nil {
		var err error
		if s.Settings.Authorization, err = authorizers(d); err != nil {
			s.unread(fAuthorization, inventory.PartAPIServer, err)
		}
	}
	return nil
}

// anonymous decides who needs no name: the file of --authentication-config where it
// says so, else the flag. A server that allows everything by its flags takes the flag
// for off.
func (s *server) anonymous() (err error) {
	a := s.Settings
	if a.Anonymous, err = s.yes(fAnonymous); err != nil {
		return err
	}
	if slices.Contains(a.Authorization, "AlwaysAllow") && s.set[fAuthorization] == "" {
		a.Anonymous = inventory.No
	}
	if s.set[fAuthentication] == "" {
		return nil
	}
	_, flagged := s.set[fAnonymous] // then the file says nothing, or the server would not start
	answer, paths := inventory.Unknown, []string(nil)
	d := s.file(fAuthentication, inventory.PartAPIServer)
	if d != nil {
		if answer, paths, err = authentication(d); err != nil {
			s.unread(fAuthentication, inventory.PartAPIServer, err)
			d = nil
		}
	}
	switch {
	case d == nil && !flagged:
		a.Anonymous = inventory.Unknown
	case answer != inventory.Unknown && flagged:
		return errors.New("--anonymous-auth and anonymous in the file of --authentication-config exclude each other")
	case answer != inventory.Unknown:
		a.Anonymous, a.AnonymousPaths = answer, paths
	}
	return nil
}

func (s *server) audit() {
	a := s.Settings
	for _, flag := range []string{fLog, fWebhook} {
		if v := s.set[flag]; v != "" {
			a.AuditTo = append(a.AuditTo, v)
		}
	}
	none := func(why string) {
		a.AuditPolicy = &inventory.Audit{Exec: levels[0], Silent: []string{"everything: " + why}, Origin: s.process.Origin}
	}
	switch {
	case s.set[fPolicy] == "":
		none("no audit policy is set")
	case len(a.AuditTo) == 0:
		none("neither a log nor a webhook is set that events would go to")
	default:
		name := s.process.path(s.set[fPolicy])
		data, err := readFile(s.process.Files, name)
		if err == nil {
			a.AuditPolicy, err = AuditPolicy(name, 1, data)
		}
		if err != nil {
			s.unread(fPolicy, inventory.PartAudit, err)
		}
	}
}

// podSecurity decides which level a namespace without a label has.
func (s *server) podSecurity() {
	a := s.Settings
	if slices.Contains(a.AdmissionOff, "PodSecurity") || s.set[fAdmissionFile] == "" {
		a.PodSecurity = "privileged"
		return
	}
	d := s.file(fAdmissionFile, inventory.PartAPIServer)
	if d == nil {
		return
	}
	level, err := s.podSecurityOf(d)
	if err != nil {
		s.unread(fAdmissionFile, inventory.PartAPIServer, err)
	}
	a.PodSecurity = level
}

// podSecurityConfiguration is the part of a PodSecurityConfiguration that counts.
type podSecurityConfiguration struct {
	Defaults struct {
		Enforce string `json:"enforce"`
	} `json:"defaults"`
	Exemptions struct {
		Usernames      []string `json:"usernames"`
		Namespaces     []string `json:"namespaces"`
		RuntimeClasses []string `json:"runtimeClasses"`
	} `json:"exemptions"`
}

// podSecurityOf finds the level in an AdmissionConfiguration; "" where it is not the
// same for everybody.
func (s *server) podSecurityOf(d *document) (string, error) {
	var c struct {
		Plugins []struct {
			Name          string          `json:"name"`
			Configuration json.RawMessage `json:"configuration"` // each plugin has a type of its own
		} `json:"plugins"`
	}
	if err := d.decode(&c); err != nil {
		return "", err
	}
	for _, p := range c.Plugins {
		if p.Name != "PodSecurity" {
			continue
		}
		if len(p.Configuration) == 0 {
			return "", errors.New("the configuration of PodSecurity stands in another file, which is not read")
		}
		var of podSecurityConfiguration
		if err := kjson.UnmarshalCaseSensitivePreserveInts(p.Configuration, &of); err != nil {
			return "", err
		}
		if e := of.Exemptions; len(e.Usernames)+len(e.Namespaces)+len(e.RuntimeClasses) > 0 {
			return "", errors.New("PodSecurity has exemptions, which are not understood")
		}
		if of.Defaults.Enforce != "" {
			return of.Defaults.Enforce, nil
		}
	}
	return "privileged", nil
}

const configGroup = "apiserver.config.k8s.io"

// authorizers lists the types of an AuthorizationConfiguration in their order.
func authorizers(d *document) ([]string, error) {
	if !d.is(configGroup, "AuthorizationConfiguration") {
		return nil, errors.New("no AuthorizationConfiguration of " + configGroup)
	}
	var c struct {
		Authorizers []struct {
			Type string `json:"type"`
		} `json:"authorizers"`
	}
	if err := d.decode(&c); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range c.Authorizers {
		if a.Type == "" {
			return nil, errors.New("an authorizer has no type")
		}
		out = append(out, a.Type)
	}
	if len(out) == 0 {
		return nil, errors.New("it has no authorizers")
	}
	return out, nil
}

// authentication tells what an AuthenticationConfiguration says of requests without
// a name; Unknown when it says nothing, and the flag counts.
func authentication(d *document) (inventory.Answer, []string, error) {
	if !d.is(configGroup, "AuthenticationConfiguration") {
		return inventory.Unknown, nil, errors.New("no AuthenticationConfiguration of " + configGroup)
	}
	var c struct {
		Anonymous *struct {
			Enabled    bool `json:"enabled"`
			Conditions []struct {
				Path string `json:"path"`
			} `json:"conditions"`
		} `json:"anonymous"`
	}
	if err := d.decode(&c); err != nil || c.Anonymous == nil {
		return inventory.Unknown, nil, err
	}
	var paths []string
	for _, o := range c.Anonymous.Conditions {
		paths = append(paths, o.Path)
	}
	return inventory.AnswerOf(c.Anonymous.Enabled), paths, nil
}

// Structured tells what an AuthenticationConfiguration or AuthorizationConfiguration
// in YAML or JSON says of an API server that has it.
func Structured(source string, first int, data []byte) (*inventory.APIServer, error) {
	d, err := parse(source, first, data)
	if err != nil {
		return nil, err
	}
	a := inventory.APIServer{Origin: inventory.Origin{Source: source, Line: d.first}}
	if d.is(configGroup, "AuthorizationConfiguration") {
		a.Authorization, err = authorizers(d)
	} else {
		a.Anonymous, a.AnonymousPaths, err = authentication(d)
	}
	if err != nil {
		return nil, err
	}
	return &a, nil
}
