package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

func targetFields() []Field {
	every := func(name string, get func(*session.Target) string) Field {
		return before(name, cel.StringType, func(v *View) ref.Val { return v.image("target."+name, get(&v.s.Target)) })
	}
	ofPod := func(name string, get func(*session.Target) string) Field {
		return before(name, cel.StringType, func(v *View) ref.Val { return v.pod("target."+name, get(&v.s.Target)) })
	}
	return []Field{
		every("container_id", func(t *session.Target) string { return string(t.ContainerID) }),
		every("container_name", func(t *session.Target) string { return t.ContainerName }),
		every("image", func(t *session.Target) string { return t.Image }),
		every("image_id", func(t *session.Target) string { return t.ImageID }),
		before("runtime", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Target.Runtime) }),
		before("labels", textMap, func(v *View) ref.Val {
			if t := &v.s.Target; len(t.Labels) == 0 && t.Image == "" && hasProcesses(v.s.Kind) {
				return Unknown("target.labels")
			}
			return value.NewDict(textMap, types.NewStringStringMap(types.DefaultTypeAdapter, v.s.Target.Labels))
		}),
		ofPod("pod", func(t *session.Target) string { return t.Pod }),
		ofPod("pod_uid", func(t *session.Target) string { return t.PodUID }),
		ofPod("namespace", func(t *session.Target) string { return t.Namespace }),
		before("workload", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Target.Workload) }),
		before("node", cel.StringType, func(v *View) ref.Val { return value.Text(v.s.Target.Node) }),
		before("host_access", hostAccessType, (*View).hostAccess),
	}
}

func hostAccessFields() []Field {
	get := func(name string, get func(*event.HostAccess) []string) Field {
		return Field{Name: name, Type: textList, get: of(func(h *event.HostAccess) ref.Val {
			all := get(h)
			l := value.List{N: len(all), At: func(i int) ref.Val { return types.String(all[i]) }}
			if h.Partial {
				l.Rest = Unknown("target.host_access." + name)
			}
			return &l
		})}
	}
	return []Field{
		{Name: "privileged", Type: cel.BoolType, get: of(func(h *event.HostAccess) ref.Val {
			if h.Partial && !h.Privileged {
				return Unknown("target.host_access.privileged")
			}
			return types.Bool(h.Privileged)
		})},
		get("namespaces", func(h *event.HostAccess) []string { return h.Namespaces }),
		get("capabilities", func(h *event.HostAccess) []string { return h.Capabilities }),
		get("devices", func(h *event.HostAccess) []string { return h.Devices }),
		get("paths", func(h *event.HostAccess) []string { return h.Paths }),
	}
}

func settingsFields() []Field {
	one := func(name string, get func(*session.Settings) string) Field {
		return Field{Name: name, Type: cel.StringType, get: of(func(s *session.Settings) ref.Val { return value.Text(get(s)) })}
	}
	list := func(name string, get func(*session.Settings) []string) Field {
		return Field{Name: name, Type: textList, get: of(func(s *session.Settings) ref.Val { return value.Texts(get(s)) })}
	}
	return []Field{
		one("dir", func(s *session.Settings) string { return s.Dir }),
		list("variables", func(s *session.Settings) []string { return s.Variables }),
		list("security", func(s *session.Settings) []string { return s.Security }),
		list("sysctls", func(s *session.Settings) []string { return s.Sysctls }),
		list("device_rules", func(s *session.Settings) []string { return s.DeviceRules }),
		one("cgroup_parent", func(s *session.Settings) string { return s.CgroupParent }),
		list("joined", func(s *session.Settings) []string { return s.Joined }),
	}
}
