package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// The paths of the kubelet's configuration that are read.
const (
	kAnonymous  = "authentication.anonymous.enabled"
	kWebhook    = "authentication.webhook.enabled"
	kClientCA   = "authentication.x509.clientCAFile"
	kMode       = "authorization.mode"
	kReadOnly   = "readOnlyPort"
	kPort       = "port"
	kAddress    = "address"
	kDebugging  = "enableDebuggingHandlers"
	kRotate     = "rotateCertificates"
	kStaticPods = "staticPodPath"
	kSeccomp    = "seccompDefault"
	kEventQPS   = "eventRecordQPS"
)

// valueKind is what a setting's value must be.
type valueKind uint8

const (
	aText valueKind = iota
	aBool
	aNumber
)

// kubeletPaths are the settings with what they must be, the flag that sets them, and
// their default when a file configures the kubelet.
var kubeletPaths = []struct {
	path, flag string
	kind       valueKind
	initial    any
}{
	{kAnonymous, "anonymous-auth", aBool, false},
	{kWebhook, "authentication-token-webhook", aBool, true},
	{kClientCA, "client-ca-file", aText, ""},
	{kMode, "authorization-mode", aText, "Webhook"},
	{kReadOnly, "read-only-port", aNumber, 0},
	{kPort, "port", aNumber, 10250},
	{kAddress, "address", aText, "0.0.0.0"},
	{kDebugging, "enable-debugging-handlers", aBool, true},
	{kRotate, "rotate-certificates", aBool, false},
	{kStaticPods, "pod-manifest-path", aText, ""},
	{kSeccomp, "seccomp-default", aBool, false},
	{kEventQPS, "event-qps", aNumber, 50},
}

// zeroIsUnset are the settings of which an empty value in a file is none.
var zeroIsUnset = []string{kMode, kPort, kAddress}

// withoutFile are the defaults of a kubelet that is started with no --config: they
// let everybody in.
var withoutFile = map[string]any{kAnonymous: true, kWebhook: false, kMode: "AlwaysAllow", kReadOnly: 10255}

// kubeletFlags are the flags that matter.
func kubeletFlags() map[string]flagKind {
	out := map[string]flagKind{"config": textFlag, "config-dir": textFlag, "hostname-override": textFlag}
	for _, p := range kubeletPaths {
		out[p.flag] = textFlag
		if p.kind == aBool {
			out[p.flag] = boolFlag
		}
	}
	return out
}

// effective are the values of settings, those that were set with where they stand.
type effective struct {
	value  map[string]any // bool, string or int
	origin map[string]inventory.Origin
}

func newEffective() effective {
	e := effective{map[string]any{}, map[string]inventory.Origin{}}
	for _, p := range kubeletPaths {
		e.value[p.path] = p.initial
	}
	return e
}

// put sets the values of a document over those before it.
func (e effective) put(d *document) error {
	for _, p := range kubeletPaths {
		v, err := d.at(p.path)
		switch {
		case err != nil:
			return err
		case v == absent:
			continue
		case v == null:
			e.reset(p.path, p.initial)
			continue
		}
		typed, ok := typedAs(p.kind, v)
		if !ok {
			return fmt.Errorf("%s: %s is of the wrong type", p.path, text(v))
		}
		if slices.Contains(zeroIsUnset, p.path) && (typed == "" || typed == 0) {
			e.reset(p.path, p.initial)
			continue
		}
		e.value[p.path], e.origin[p.path] = typed, d.origin(p.path)
	}
	return nil
}

func (e effective) reset(path string, initial any) {
	e.value[path] = initial
	delete(e.origin, path)
}

func typedAs(kind valueKind, v any) (any, bool) {
	switch v := v.(type) {
	case bool:
		return v, kind == aBool
	case string:
		return v, kind == aText
	case int64:
		return int(v), kind == aNumber && v >= -1<<31 && v < 1<<31
	}
	return nil, false
}

// putFlags sets the values of a command line over all others.
func (e effective) putFlags(set map[string]string, origin inventory.Origin) error {
	for _, p := range kubeletPaths {
		s, ok := set[p.flag]
		if !ok {
			continue
		}
		var v any = s
		var err error
		switch p.kind {
		case aBool:
			v, err = strconv.ParseBool(s)
		case aNumber:
			v, err = strconv.Atoi(s)
		case aText:
		}
		if err != nil {
			return fmt.Errorf("--%s: %w", p.flag, err)
		}
		if p.path == kSeccomp && v == false { // the flag only adds to the file
			continue
		}
		e.value[p.path], e.origin[p.path] = v, origin
	}
	return nil
}

func (e effective) kubelet(origin inventory.Origin) *inventory.Kubelet {
	yes := func(path string) inventory.Answer { return inventory.AnswerOf(e.value[path] == true) }
	str := func(path string) string { s, _ := e.value[path].(string); return s }
	num := func(path string) int { n, _ := e.value[path].(int); return n }
	readOnly := num(kReadOnly)
	k := inventory.Kubelet{
		Anonymous: yes(kAnonymous), Webhook: yes(kWebhook), Authorization: str(kMode), ClientCA: str(kClientCA),
		ReadOnlyPort: &readOnly, Port: num(kPort), Address: str(kAddress), Debugging: yes(kDebugging),
		RotateCerts: yes(kRotate), StaticPods: str(kStaticPods), SeccompDefault: yes(kSeccomp), Origin: origin,
	}
	for _, p := range kubeletPaths {
		if o, ok := e.origin[p.path]; ok {
			k.Set = append(k.Set, inventory.Setting{Name: p.path, Value: text(e.value[p.path]), Origin: o})
		}
	}
	return &k
}

// Process is a program of Kubernetes as it was started.
type Process struct {
	Args      []string // without the program's name
	Directory string   // in which it was started
	Origin    inventory.Origin
	// Files are those of the machine, as the program sees them; nil when they are
	// not at hand.
	Files fs.FS
}

// path makes a path that a flag names absolute.
func (p *Process) path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", p.Directory, name)
}

// Kubelet tells the configuration of a kubelet that is started so: the defaults, the
// file of --config, the .conf files of --config-dir in the order of their paths, then
// what its flags say, each over the ones before. An error means that it is unknown;
// a kubelet would not start so, or its files cannot be read.
func Kubelet(p *Process) (*inventory.Kubelet, error) {
	set, err := parseFlags(p.Args, kubeletFlags())
	if err != nil {
		return nil, err
	}
	e := newEffective()
	if file := set["config"]; file != "" {
		if err := e.file(p, p.path(file)); err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
	} else {
		for path, v := range withoutFile {
			e.value[path] = v
		}
	}
	if dir := set["config-dir"]; dir != "" {
		if err := e.dropIns(p, p.path(dir)); err != nil {
			return nil, fmt.Errorf("--config-dir: %w", err)
		}
	}
	if err := e.putFlags(set, p.Origin); err != nil {
		return nil, err
	}
	k := e.kubelet(p.Origin)
	k.Node = strings.ToLower(strings.TrimSpace(set["hostname-override"])) // as the kubelet registers
	return k, nil
}

// dropIns puts the .conf files of a directory and those below, in lexical order.
func (e effective) dropIns(p *Process, dir string) error {
	if p.Files == nil {
		return errors.New(dir + ": the machine's files are not at hand")
	}
	return fs.WalkDir(p.Files, rootfs.Inside(dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || path.Ext(d.Name()) != ".conf" {
			return nil
		}
		return e.file(p, "/"+name)
	})
}

func (e effective) file(p *Process, name string) error {
	data, err := readFile(p.Files, name)
	if err != nil {
		return err
	}
	d, err := parse(name, 1, data)
	if err == nil && !d.is(kubeletGroup, kubeletKind) {
		err = errors.New("no KubeletConfiguration of " + kubeletGroup)
	}
	if err == nil {
		err = e.put(d)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

const (
	kubeletGroup = "kubelet.config.k8s.io"
	kubeletKind  = "KubeletConfiguration"
)

// KubeletFile tells the configuration that a KubeletConfiguration in YAML or JSON
// alone makes. The flags of a kubelet win over it, and are not known.
func KubeletFile(source string, first int, data []byte) (*inventory.Kubelet, error) {
	d, err := parse(source, first, data)
	if err != nil {
		return nil, err
	}
	if !d.is(kubeletGroup, kubeletKind) {
		return nil, errors.New("no KubeletConfiguration of " + kubeletGroup)
	}
	e := newEffective()
	if err := e.put(d); err != nil {
		return nil, err
	}
	return e.kubelet(inventory.Origin{Source: source, Line: d.first}), nil
}

// Configz tells the configuration of a kubelet by what it says of itself at /configz,
// in JSON. All that counts is in it, but whether --seccomp-default is set.
func Configz(source string, first int, data []byte) (*inventory.Kubelet, error) {
	var outer struct {
		Kubelet json.RawMessage `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(data, &outer); err != nil {
		return nil, err
	}
	if len(outer.Kubelet) == 0 || strings.TrimSpace(string(outer.Kubelet)) == "null" {
		return nil, errors.New("it has no kubeletconfig")
	}
	d, err := parse(source, first, outer.Kubelet)
	if err != nil {
		return nil, err
	}
	d.nodes = nil // its lines are not those of the file
	e := newEffective()
	// It tells every setting that has no empty value: without these it is no answer.
	for _, path := range []string{kAnonymous, kWebhook, kMode, kPort} {
		if v, err := d.at(path); err != nil || v == absent || v == null {
			return nil, fmt.Errorf("it does not say %s", path)
		}
	}
	if err := e.put(d); err != nil {
		return nil, err
	}
	k := e.kubelet(inventory.Origin{Source: source, Line: d.first})
	if k.SeccompDefault == inventory.No {
		k.SeccompDefault = inventory.Unknown
	}
	return k, nil
}
