package door

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
)

var all = map[string]*schema{
	"exec create": execCreate, "exec start": execStart, "create": create, "commit": commit, "update": update, "service": service, "volume": vol,
	"libpod create": libpodCreate, "libpod pod": libpodPod, "libpod update": libpodUpdate, "libpod volume": libpodVolume, "libpod exec start": libpodExecStart,
}

// TestShapes: of the daemon's types each member has one name, as encoding/json
// sees it.
func TestShapes(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		typ = plain(typ)
		if typ == nil || seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Slice, reflect.Array, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			s, err := newShape(typ)
			if err != nil {
				t.Error(err)
			}
			for name, of := range s {
				for other := range s {
					if name != other && strings.EqualFold(name, other) {
						t.Errorf("%s: %s and %s", typ, name, other)
					}
				}
				walk(of)
			}
		default:
		}
	}
	for _, s := range all {
		walk(reflect.TypeOf(s.new()))
	}
	if len(seen) < 40 {
		t.Errorf("only %d types", len(seen))
	}
}

func TestNormalize(t *testing.T) {
	for _, c := range []struct {
		of       *schema
		in, want string // want "": refused
		why      string
	}{
		{execCreate, `{"Cmd":["id"],"Tty":true}`, `{"Cmd":["id"],"Tty":true}`, ""},
		{execCreate, ` {"cMD":["id"], "PRIVILEGED":true} `, `{"Cmd":["id"],"Privileged":true}`, ""},
		{execCreate, `{"Cmd":["id"],"cmd":["sh"]}`, "", "twice"},
		{execCreate, `{"Cmd":["id"],"Cmd":["id"]}`, "", "twice"},
		{execCreate, `{"Cmd":["id"],"Cmd":["sh"]}`, "", "twice"},
		{execCreate, `{"Cmd":["id"]}{"Cmd":["sh"]}`, "", "not one JSON value"},
		{execCreate, `{"Cmd":["id"]} x`, "", "not one JSON value"},
		{execCreate, ``, "", "not one JSON value"},
		{execCreate, `{"Cmd":["id"],"Sudo":true}`, "", "Sudo"},
		{execCreate, `{"Cmd":["id"],"Sudo":false,"X":null,"Y":{"a":[],"b":""}}`, `{"Cmd":["id"]}`, ""},
		{execCreate, `{"Cmd":["id"],"Detach":true}`, `{"Cmd":["id"],"Detach":true}`, ""},
		{execCreate, `{"Cmd":"id"}`, "", "does not fit"},
		{execCreate, `{"Cmd":["\ud800","` + "\xff" + `"]}`, `{"Cmd":["` + "\ufffd" + `","` + "\ufffd" + `"]}`, ""},
		{execCreate, `["Cmd"]`, "", "does not fit"},
		{execCreate, `null`, `null`, ""},
		{create, `{"Image":"i","Cmd":"id","hostconfig":{"privileged":true,"BINDS":["/:/h"]}}`, `{"Image":"i","Cmd":["id"],"HostConfig":{"Privileged":true,"Binds":["/:/h"]}}`, ""},
		{create, `{"Image":"i","HostConfig":{"Privileged":false,"privileged":true}}`, "", "is there twice"},
		{create, `{"Image":"i","Privileged":true}`, "", "Privileged"}, // older daemons take it for HostConfig's
		{create, `{"Image":"i","Binds":["/:/host"]}`, "", "Binds"},
		{create, `{"Image":"i","HostConfig":{},"hostConfig":{"Privileged":true}}`, "", "twice"},
		{create, `{"Image":"i","HostConfig":{"KernelMemory":0,"KernelMemoryTCP":7}}`, `{"Image":"i","HostConfig":{"KernelMemory":0,"KernelMemoryTCP":7}}`, ""},
		{create, `{"Image":"i","KernelMemory":7}`, "", "KernelMemory"},
		{create, `{"Labels":{"a":"1","A":"2"}}`, `{"Labels":{"a":"1","A":"2"}}`, ""},
		{create, `{"Labels":{"a":"1","a":"2"}}`, "", "twice"},
		{create, `{"ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","hostport":"8"}]}}}`,
			`{"ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8"}]}}}`, ""},
		{create, strings.Repeat(`{"HostConfig":`, 100) + `{}` + strings.Repeat(`}`, 100), `{"HostConfig":{}}`, ""},
		{create, strings.Repeat(`{"HostConfig":`, 100) + `1` + strings.Repeat(`}`, 100), "", "HostConfig.HostConfig"},
		{create, `{"Cmd":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, "", "64 levels"},
		{execCreate, `{"Cmd":["id"],"ConsoleSize":[1,2]}`, `{"Cmd":["id"],"ConsoleSize":[1,2]}`, ""},
		{libpodCreate, `{"IMAGE":"i","Command":["id"],"httpproxy":true}`, `{"image":"i","command":["id"],"httpproxy":true}`, ""},
		{libpodCreate, `{"image":"i","command":["id"],"Command":["sh"]}`, "", "twice"},
		{libpodCreate, `{"image":"i","command":"id"}`, "", "does not fit"},
		{libpodCreate, `{"image":"i","env_host":true}`, "", "env_host"},
		{libpodCreate, `{"image":"i","env_host":false,"init_path":"","dependencyContainers":[]}`, `{"image":"i"}`, ""},
		{libpodCreate, `{"image":"i","init_path":"/x"}`, "", "init_path"},
		{libpodCreate, `{"image":"i","conmon_pid_file":"/x"}`, "", "conmon_pid_file"},
		{libpodCreate, `{"image":"i","networks":{"a":{}},"timeout":1,"TIMEOUT":2}`, "", "twice"},
		{libpodCreate, `{"image":"i","resource_limits":{"memory":{"limit":1},"devices":[{"allow":true}],"cpu":{}}}`, `{"image":"i","resource_limits":{"memory":{"limit":1},"devices":[{"allow":true}],"cpu":{}}}`, ""},
		{libpodCreate, `{"image":"i","resource_limits":{"vfio":1}}`, "", "resource_limits.vfio"},
		{libpodCreate, `{"image":"i","mounts":[{"source":"/","Source":"/etc"}]}`, "", "twice"},
		{libpodCreate, `{"image":"i","idmappings":{"UIDMap":1,"uidmap":2}}`, "", "twice"},
		{libpodCreate, `{"image":"i","idmappings":{"swap":1,"\u017fwap":2}}`, "", "twice"},
		{libpodUpdate, `{"memory":{"limit":1}}`, `{"memory":{"limit":1}}`, ""},
		{libpodUpdate, `{"health_cmd":"sh"}`, "", "health_cmd"},
		{libpodExecStart, `{"Detach":false,"Tty":true,"h":1,"w":2}`, `{"Detach":false,"Tty":true,"h":1,"w":2}`, ""},
		{vol, `{"Name":"v","DriverOpts":{"device":"/","type":"none","o":"bind"}}`, `{"Name":"v","DriverOpts":{"device":"/","type":"none","o":"bind"}}`, ""},
	} {
		_, out, err := c.of.normalize([]byte(c.in))
		switch {
		case c.want == "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: %v, want an error with %q", c.in, err, c.why)
		case c.want != "" && err != nil:
			t.Errorf("%s: %v", c.in, err)
		case c.want != "" && string(out) != c.want:
			t.Errorf("%s:\n got %s\nwant %s", c.in, out, c.want)
		}
	}
}

// FuzzNormalize is the daemon's decoder as the oracle: what is accepted, the
// daemon reads out of what is forwarded as it would have read it out of what
// came, and every other JSON reader reads the same.
func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		`{"Cmd":["id"],"Tty":true,"AttachStdin":true,"Env":["A=b"],"ConsoleSize":[1,2]}`,
		`{"cmd":["id"],"TTY":true,"priv\u0131leged":true,"\u212Amd":[]}`,
		`{"Image":"i","Entrypoint":["sh"],"Healthcheck":{"Test":["CMD","x"],"Interval":1},"HostConfig":{"Mounts":[{"Type":"bind","Source":"/"}],"Ulimits":[{"Name":"a","Soft":1}],"Dns":["10.0.0.1"]}}`,
		`{"Name":"s","TaskTemplate":{"ContainerSpec":{"Command":["sh"],"Args":["-c"]}},"Labels":null}`,
		`{"image":"i","entrypoint":["sh"],"COMMAND":["-c"],"env":{"A":"b"},"pidns":{"nsmode":"host"},"mounts":[{"type":"bind","source":"/","options":["rbind"]}],"resource_limits":{"memory":{"limit":1},"devices":[{"allow":true,"major":1}]},"idmappings":{"UIDMap":null},"Networks":{},"healthconfig":{"Test":["CMD","x"],"Interval":1e3}}`,
		`{"name":"p","infra_command":["sh"],"Pod_Devices":["/dev/null"],"portmappings":[{"host_port":1}],"memory":{"\u017fwap":1,"swap":2},"h":1,"W":2}`,
		`{"Detach":true,"detach":false}`, `{"DriverOpts":{"device":"/"}}`, `{"RestartPolicy":{"Name":"always"},"Memory":1e3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, s := range all {
			judged, out, err := s.normalize(body)
			if err != nil {
				continue
			}
			if strings.Contains(string(body), `"`) && len(s.words) > 0 {
				// What older daemons take as one text has no oracle here.
				if json.Unmarshal(body, s.new()) != nil {
					continue
				}
			}
			came, forwarded := s.new(), s.new()
			if err := json.NewDecoder(bytes.NewReader(body)).Decode(came); err != nil {
				t.Fatalf("%s: the daemon would refuse %s: %v", name, body, err)
			}
			if err := json.NewDecoder(bytes.NewReader(out)).Decode(forwarded); err != nil {
				t.Fatalf("%s: the daemon would refuse %s: %v", name, out, err)
			}
			before, after := s.besides(), s.besides()
			if json.Unmarshal(body, before) != nil || json.Unmarshal(out, after) != nil || !reflect.DeepEqual(before, after) {
				t.Fatalf("%s: of %s\nis forwarded %s\nwhich has besides\n%s\n%s", name, body, out, show(before), show(after))
			}
			if !reflect.DeepEqual(came, forwarded) || !reflect.DeepEqual(judged, forwarded) {
				t.Fatalf("%s: of %s the daemon reads\n%s\nforwarded %s", name, body, show(came), out)
			}
			if _, again, err := s.normalize(out); err != nil || !bytes.Equal(again, out) {
				t.Fatalf("%s: %s becomes %s, %v", name, out, again, err)
			}
			strict(t, name, out)
		}
	})
}

// besides returns a pointer to a type with the harmless members, as a daemon's type
// has them.
func (s *schema) besides() any {
	var fields []reflect.StructField
	for i, key := range s.harmless {
		if !strings.Contains(key, ".") {
			fields = append(fields, reflect.StructField{
				Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[any](), Tag: reflect.StructTag(fmt.Sprintf("json:%q", key)),
			})
		}
	}
	return reflect.New(reflect.StructOf(fields)).Interface()
}

// strict checks that no two keys of an object differ by case alone, where a
// struct reads them: then maps of other languages read what structs do.
func strict(t *testing.T, name string, out []byte) {
	var v map[string]json.RawMessage
	if json.Unmarshal(out, &v) != nil {
		return
	}
	folded := map[string]bool{}
	for k := range v {
		if folded[strings.ToLower(k)] {
			t.Fatalf("%s: %s has a key in two cases", name, out)
		}
		folded[strings.ToLower(k)] = true
	}
}

func show(v any) string { b, _ := json.Marshal(v); return string(b) }

// TestNormalizeKeepsAll: what the daemon's own type writes comes through as it
// is, but for members that say nothing.
func TestNormalizeKeepsAll(t *testing.T) {
	in := container.CreateRequest{Config: &container.Config{Image: "i", Cmd: []string{"a"}, Labels: map[string]string{"x": "y"}}, HostConfig: &container.HostConfig{Privileged: true, CapAdd: []string{"ALL"}}}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	got, out, err := create.normalize(body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, out) {
		t.Errorf("%s\nbecame\n%s", body, out)
	}
	var daemon container.CreateRequest
	if err := json.Unmarshal(out, &daemon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(show(daemon), show(got)); diff != "" {
		t.Error(diff)
	}
}
