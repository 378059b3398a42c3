package docker

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
)

func TestHostAccess(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want event.HostAccess
	}{
		"nothing": {`{}`, event.HostAccess{}},
		"private namespaces, a volume, a temporary file system": {
			`{"HostConfig":{"NetworkMode":"bridge","PidMode":"container:x","IpcMode":"private","CgroupnsMode":"private","Binds":["data:/d"],
			"Mounts":[{"Type":"volume","Source":"v","Target":"/v"},{"Type":"tmpfs","Target":"/t"}]}}`, event.HostAccess{},
		},
		"all of it": {
			`{"HostConfig":{"Privileged":true,"NetworkMode":"host","PidMode":"host","IpcMode":"host","UTSMode":"host","UsernsMode":"host","CgroupnsMode":"host",
			"CapAdd":["cap_sys_admin","NET_ADMIN"],"Devices":[{"PathOnHost":"/dev/sda","PathInContainer":"/dev/x"}],
			"Binds":["/:/host:ro","/run/docker.sock:/s"],"Mounts":[{"Type":"bind","Source":"/etc","Target":"/e"}]}}`,
			event.HostAccess{
				Privileged: true, Namespaces: []string{"ipc", "network", "pid", "user", "uts"}, Capabilities: []string{"NET_ADMIN", "SYS_ADMIN"},
				Devices: []string{"/dev/sda"}, Paths: []string{"/", "/etc", "/run/docker.sock"},
			},
		},
		"one capability as a text": {`{"HostConfig":{"CapAdd":"ALL"}}`, event.HostAccess{Capabilities: []string{"ALL"}}},
		"a volume that is a directory of the host": {
			`{"HostConfig":{"Mounts":[{"Type":"volume","Target":"/v","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none","o":"bind","device":"/root"}}}},
			{"Type":"volume","VolumeOptions":{"DriverConfig":{"Options":{"type":"nfs","device":":/export"}}}}]}}`, event.HostAccess{Paths: []string{"/root"}},
		},
	} {
		var o event.DockerRequest
		if !decodeCreate([]byte(c.body), &o) {
			t.Errorf("%s: not decoded", name)
			continue
		}
		if d := cmp.Diff(&c.want, o.HostAccess); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	var c containerJSON
	body := `{"Config":{"OpenStdin":true,"Env":["PATH=/bin","BASH_ENV=/x=y","LD_PRELOAD"]},"HostConfig":{"PidMode":"host"},
		"Mounts":[{"Type":"bind","Source":"/srv"},{"Type":"volume","Source":"/var/lib/docker/volumes/v/_data"}]}`
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatal(err)
	}
	o := c.observation(time.Unix(1, 0))
	if d := cmp.Diff(&event.HostAccess{Namespaces: []string{"pid"}, Paths: []string{"/srv"}}, o.HostAccess); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]event.Variable{{Name: "BASH_ENV", Value: "/x=y"}, {Name: "LD_PRELOAD"}}, o.Variables); d != "" {
		t.Error(d)
	}
	if o.Stdin == nil || !*o.Stdin {
		t.Error("standard input is not open")
	}
}
