package docker

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"

	"github.com/sallyport/sallyport/internal/core/session"
)

// TestSettings: the body of a create and the inspect of what it made say the same.
func TestSettings(t *testing.T) {
	usual := `"MaskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware"],
		"ReadonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]`
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		asked, shown string // HostConfig
		want         session.Settings
	}{
		{`{}`, `{` + usual + `}`, session.Settings{}},
		{`{"Privileged":true,"SecurityOpt":["label=disable"]}`, `{"Privileged":true,"SecurityOpt":["label=disable"],"MaskedPaths":null,"ReadonlyPaths":null}`,
			session.Settings{Security: []string{"label=disable"}}},
		{`{"SecurityOpt":["seccomp:unconfined","disable","no-new-privileges"]}`, `{"SecurityOpt":["seccomp:unconfined","disable","no-new-privileges"],` + usual + `}`,
			session.Settings{Security: []string{"label=disable", "no-new-privileges", "seccomp=unconfined"}}},
		{`{"SecurityOpt":["seccomp={` + long + `}"]}`, `{"SecurityOpt":["seccomp={` + long + `}"]}`,
			session.Settings{Security: []string{"seccomp=sha256:b871146a1f3ecc43d024c18fa29b8fe4ef202edc0824d99431be7b662365a9ab"}}},
		{`{"MaskedPaths":[],"ReadonlyPaths":[]}`, `{"MaskedPaths":[],"ReadonlyPaths":[]}`, session.Settings{Security: []string{"systempaths=unconfined"}}},
		{`{"MaskedPaths":["/proc/kcore"]}`, `{"MaskedPaths":["/proc/kcore"]}`, session.Settings{Security: []string{"systempaths=unconfined"}}},
		{`{"Sysctls":{"b":"2","a":"1"},"DeviceCgroupRules":["c 1:3 rwm"],"CgroupParent":"/x"}`, `{"Sysctls":{"a":"1","b":"2"},"DeviceCgroupRules":["c 1:3 rwm"],"CgroupParent":"/x"}`,
			session.Settings{Sysctls: []string{"a=1", "b=2"}, DeviceRules: []string{"c 1:3 rwm"}, CgroupParent: "/x"}},
		{`{"PidMode":"container:box","NetworkMode":"container:box","IpcMode":"container:box","VolumesFrom":["box:ro"]}`,
			`{"PidMode":"container:c0ffee","NetworkMode":"container:c0ffee","IpcMode":"container:c0ffee","VolumesFrom":["box:ro"]}`,
			session.Settings{Joined: []string{"ipc:c0ffee", "network:c0ffee", "pid:c0ffee", "volumes:c0ffee"}}},
		{`{"PidMode":"host","NetworkMode":"none"}`, `{"PidMode":"host","NetworkMode":"none","IpcMode":"private"}`, session.Settings{}},
	} {
		c.want.Dir, c.want.Variables = "/", []string{"A", "B"}
		id := func(_ context.Context, ref string) (string, error) { return "c0ffee", nil }
		var asked container.HostConfig
		if err := json.Unmarshal([]byte(c.asked), &asked); err != nil {
			t.Fatal(err)
		}
		got, err := ConfinementOf(&asked).Settings(t.Context(), "", []string{"B=2", "A=1", "B=3"}, id)
		if err != nil {
			t.Fatal(err)
		}
		made, err := ParseContainer([]byte(`{"Id":"box","Config":{"Env":["A=1","B=3"]},"HostConfig":`+c.shown+`}`), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		later, err := made.Settings(t.Context(), made.Dir, made.Env, id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, later); diff != "" {
			t.Errorf("%s: -asked +shown\n%s", c.asked, diff)
		}
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.asked, diff)
		}
		if !later.Within(got) || got.Within(&session.Settings{}) != (c.want.Security == nil && c.want.Joined == nil && c.want.Sysctls == nil) {
			t.Errorf("%s: within", c.asked)
		}
	}
}
