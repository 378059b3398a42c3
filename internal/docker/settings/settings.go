// Package settings reads how a Docker daemon was told to run: the flags of its
// process, its daemon.json, and the systemd unit with its drop-ins that starts it.
//
// All three come to the same form: a setting by the name that it has in daemon.json,
// a list as one setting for each of its items, each with where it stands. The
// package says what was asked for; what the daemon does, it is asked itself.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// fileMax bounds daemon.json and a unit, in bytes.
const fileMax = 4 << 20

// File parses daemon.json, in whatever way it is laid out. Members of an object
// count by themselves, as the daemon takes them. Of a key that comes twice the
// daemon takes the last: it is returned, and the first is reported.
func File(name string, b []byte) (out []inventory.Setting, skipped []inventory.Skipped, err error) {
	if len(b) > fileMax {
		return nil, nil, fmt.Errorf("%s: longer than %d bytes", name, fileMax)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil, nil // the daemon takes an empty file for {}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, at(name, b, d, errors.Join(errors.New("an object in braces is expected"), err))
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, nil, at(name, b, d, err)
		}
		key, line := t.(string), lineOf(b, d)
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, nil, at(name, b, d, err)
		}
		n := len(out)
		if out = slices.DeleteFunc(out, func(s inventory.Setting) bool { return s.Name == key }); len(out) < n {
			skipped = append(skipped, inventory.Skipped{Origin: inventory.Origin{Source: name, Line: line}, Why: key + " stands twice: this one counts"})
		}
		out = append(out, flat(key, v, inventory.Origin{Source: name, Line: line})...)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, at(name, b, d, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, at(name, b, d, errors.New("something follows the object"))
	}
	return out, skipped, nil
}

// flat returns a value of daemon.json as settings.
func flat(key string, v any, o inventory.Origin) []inventory.Setting {
	switch v := v.(type) {
	case []any:
		var out []inventory.Setting
		for _, item := range v {
			out = append(out, inventory.Setting{Name: key, Value: text(item), Origin: o})
		}
		return out
	case map[string]any:
		var out []inventory.Setting
		for k, item := range v {
			out = append(out, inventory.Setting{Name: key + "." + k, Value: text(item), Origin: o})
		}
		slices.SortFunc(out, func(a, b inventory.Setting) int { return strings.Compare(a.Name, b.Name) })
		return out
	}
	return []inventory.Setting{{Name: key, Value: text(v), Origin: o}}
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "" // it came out of JSON
	}
	return string(b)
}

func lineOf(b []byte, d *json.Decoder) int {
	return 1 + bytes.Count(b[:min(int(d.InputOffset()), len(b))], []byte("\n"))
}

func at(name string, b []byte, d *json.Decoder, err error) error {
	return fmt.Errorf("%s:%d: %w", name, lineOf(b, d), err)
}

// lists are the flags that may be given more often, with their names in
// daemon.json.
var lists = map[string]string{
	"host": "hosts", "authorization-plugin": "authorization-plugins", "label": "labels", "dns-opt": "dns-opts",
	"storage-opt": "storage-opts", "exec-opt": "exec-opts", "insecure-registry": "insecure-registries",
}

// short are the flags of one letter.
var short = map[byte]string{'H': "host", 'D': "debug", 'G': "group", 'b': "bridge", 'g': "data-root", 'l': "log-level", 's': "storage-driver", 'p': "pidfile", 'v': "version", 'h': "help"}

// switches are the flags that need no value.
var switches = []string{
	"debug", "tls", "tlsverify", "icc", "ip-forward", "ip-forward-no-drop", "ip-masq", "iptables", "ip6tables", "ipv6", "live-restore",
	"no-new-privileges", "selinux-enabled", "userland-proxy", "experimental", "init", "raw-logs", "rootless", "cri-containerd",
	"allow-direct-routing", "version", "help", "validate", "no-proxy-env", "swarm-default-advertise",
}

// Flags parses the arguments of dockerd, without its name, as its flag library
// does.
func Flags(args []string, o inventory.Origin) (out []inventory.Setting) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			break
		}
		name, value, given := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		switch {
		case strings.HasPrefix(a, "--"):
		case len(a) > 1 && a[0] == '-' && short[a[1]] != "":
			name, value = short[a[1]], strings.TrimPrefix(a[2:], "=")
			if given = value != ""; given && slices.Contains(switches, name) && a[2] != '=' {
				given, args = false, slices.Insert(slices.Clone(args), i+1, "-"+a[2:]) // -DH unix://
			}
		default:
			continue // no flag
		}
		if !given {
			value = "true"
			if !slices.Contains(switches, name) && i+1 < len(args) {
				i++
				value = args[i]
			}
		}
		if list := lists[name]; list != "" {
			name = list
		} else {
			out = slices.DeleteFunc(out, func(s inventory.Setting) bool { return s.Name == name })
		}
		out = append(out, inventory.Setting{Name: name, Value: value, Origin: o})
	}
	return out
}

// values returns what settings give a name.
func values(all []inventory.Setting, name string) (out []string) {
	for _, s := range of(all, name) {
		out = append(out, s.Value)
	}
	slices.Sort(out)
	return out
}

// Compare lists the names that both a and b set, and differently. With all it lists
// also those that only one of them sets.
func Compare(a, b []inventory.Setting, all bool) (out []inventory.Disagreement) {
	var names []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	for _, n := range names {
		inA, inB := of(a, n), of(b, n)
		if !all && (len(inA) == 0 || len(inB) == 0) || slices.Equal(values(a, n), values(b, n)) {
			continue
		}
		out = append(out, inventory.Disagreement{Name: n, Values: slices.Concat(inA, inB)})
	}
	return out
}

// Effective fills in what settings say of a daemon, where they stand in its flags or
// its file. Of a setting that stands nowhere the daemon's default is taken.
func Effective(d *inventory.Docker, all []inventory.Setting) {
	for _, s := range all {
		if s.Name == "hosts" {
			d.Hosts = append(d.Hosts, s)
		}
	}
	if len(d.Hosts) == 0 {
		d.Hosts = []inventory.Setting{{Name: "hosts", Value: "unix:///var/run/docker.sock", Origin: inventory.Origin{Source: "default"}}}
	}
	verify := values(all, "tlsverify")
	d.TLSVerify = on(verify, inventory.No)
	d.TLS = on(values(all, "tls"), inventory.No)
	if len(verify) > 0 {
		d.TLS = inventory.Yes // whether it is true or false
	}
	if ca := values(all, "tlscacert"); len(ca) > 0 {
		d.CA = ca[0]
	}
}

// on reads a switch.
func on(values []string, otherwise inventory.Answer) inventory.Answer {
	if len(values) == 0 {
		return otherwise
	}
	switch strings.ToLower(values[len(values)-1]) {
	case "true", "t", "1":
		return inventory.Yes
	case "false", "f", "0":
		return inventory.No
	}
	return inventory.Unknown
}

// applied lists the settings that the daemon says it does not have in effect, such as
// those of a file that was changed after it had started.
func applied(d *inventory.Docker, all []inventory.Setting) (out []inventory.Disagreement) {
	compare := func(name string, asked, is inventory.Answer, says string) {
		if asked == inventory.Unknown || is == inventory.Unknown || asked == is {
			return
		}
		out = append(out, inventory.Disagreement{Name: name, Values: append(of(all, name), effect(name, says))})
	}
	for name, is := range map[string]inventory.Answer{"live-restore": d.LiveRestore, "no-new-privileges": d.NoNewPrivs, "selinux-enabled": d.SELinux} {
		compare(name, on(values(all, name), inventory.Unknown), is, is.String())
	}
	if remap := values(all, "userns-remap"); len(remap) > 0 {
		compare("userns-remap", inventory.AnswerOf(remap[0] != ""), d.UserNS, d.UserNS.String())
	}
	is := slices.Sorted(slices.Values(d.AuthzPlugins))
	if asked := values(all, "authorization-plugins"); !slices.Equal(asked, is) && d.Version != "" {
		out = append(out, inventory.Disagreement{Name: "authorization-plugins", Values: append(of(all, "authorization-plugins"), effect("authorization-plugins", strings.Join(is, ", ")))})
	}
	slices.SortFunc(out, func(a, b inventory.Disagreement) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func effect(name, value string) inventory.Setting {
	return inventory.Setting{Name: name, Value: value, Origin: inventory.Origin{Source: "what the daemon says"}}
}

// of returns the settings of a name.
func of(all []inventory.Setting, name string) (out []inventory.Setting) {
	for _, s := range all {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

// Listening compares the TCP addresses that were asked for with those on which the
// daemon really answers.
func Listening(d *inventory.Docker, addresses []netip.AddrPort) (out []inventory.Disagreement) {
	for _, h := range d.Hosts {
		port, ok := portOf(h.Value)
		if ok && !slices.ContainsFunc(addresses, func(a netip.AddrPort) bool { return a.Port() == port }) {
			out = append(out, inventory.Disagreement{Name: "hosts", Values: []inventory.Setting{h, effect("hosts", fmt.Sprint("nobody listens on port ", port))}})
		}
	}
	for _, a := range addresses {
		if !Asked(d, a.Port()) {
			out = append(out, inventory.Disagreement{Name: "hosts", Values: []inventory.Setting{
				{Name: "hosts", Value: "tcp://" + a.String(), Origin: inventory.Origin{Source: "the socket that listens"}},
				{Name: "hosts", Value: "not asked for", Origin: inventory.Origin{Source: "flags, daemon.json and unit"}},
			}})
		}
	}
	return out
}

// Asked reports whether a daemon was told to listen on a TCP port.
func Asked(d *inventory.Docker, port uint16) bool {
	return slices.ContainsFunc(d.Hosts, func(h inventory.Setting) bool {
		its, ok := portOf(h.Value)
		return ok && its == port
	})
}

// defaultPort is the one of an address without a port, with TLS or without
// (moby opts, parseDaemonHost).
const defaultPort = 2375

// portOf returns the port of an address that dockerd takes for a TCP one: tcp://, or
// nothing before it at all.
func portOf(host string) (uint16, bool) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(host), "://")
	if !ok {
		scheme, rest = "tcp", scheme
		if rest == "" {
			return 0, false // what it is depends on the daemon
		}
	}
	if scheme != "tcp" {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, "/")
	i := strings.LastIndexByte(rest, ':')
	if i < 0 || i == len(rest)-1 || strings.HasSuffix(rest, "]") {
		return defaultPort, true
	}
	n, err := strconv.ParseUint(rest[i+1:], 10, 16)
	return uint16(n), err == nil
}
