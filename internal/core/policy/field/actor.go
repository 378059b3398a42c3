package field

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

func actorFields() []Field {
	return []Field{
		who("kind", cel.StringType, func(a *session.Actor) ref.Val {
			if a.Kind == session.ActorNone && a.Service == "" {
				return value.Absent // nobody is named: unknown
			}
			return value.Text(string(a.Kind))
		}),
		identity("user", func(a *session.Actor) string { return a.User }),
		who("uid", cel.IntType, func(a *session.Actor) ref.Val { return number(a.UID) }),
		who("login_uid", cel.IntType, func(a *session.Actor) ref.Val { return number(a.LoginUID) }),
		identity("login_user", func(a *session.Actor) string { return a.LoginUser }),
		who("pid", cel.IntType, func(a *session.Actor) ref.Val {
			if a.PID == 0 {
				return value.Absent
			}
			return types.Int(a.PID)
		}),
		identity("exe", func(a *session.Actor) string { return a.Exe }),
		who("argv", textList, func(a *session.Actor) ref.Val { return value.Texts(a.Argv) }),
		identity("address", func(a *session.Actor) string { return a.Address }),
		identity("service", func(a *session.Actor) string { return string(a.Service) }),
		identity("user_agent", func(a *session.Actor) string { return a.UserAgent }),
		who("names", textList, func(a *session.Actor) ref.Val { return value.Texts(a.Names) }),
		identity("container", func(a *session.Actor) string { return string(a.Container) }),
		identity("session", func(a *session.Actor) string { return string(a.Session) }),
		identity("kubernetes_uid", func(a *session.Actor) string { return a.KubeUID }),
		who("groups", textList, func(a *session.Actor) ref.Val { return value.Texts(a.Groups) }),
		{Name: "extra", Type: extraMap, get: of(func(w *actorView) ref.Val {
			if !w.known && len(w.a.Extra) == 0 {
				return Unknown("actor.extra")
			}
			return value.NewDict(extraMap, types.NewDynamicMap(types.DefaultTypeAdapter, w.a.Extra))
		})},
		who("impersonator", identityType, func(a *session.Actor) ref.Val {
			if a.Impersonator == nil {
				return value.Absent
			}
			return &value.Object{Kind: identityType, It: a.Impersonator}
		}),
		{Name: "deputy", Type: cel.BoolType, get: of(func(w *actorView) ref.Val {
			if !w.known && !w.a.Deputy {
				return Unknown("actor.deputy")
			}
			return types.Bool(w.a.Deputy)
		})},
		{Name: "doubts", Type: textList, get: of(func(w *actorView) ref.Val { return value.Texts(w.a.Doubts) })},
		{Name: "identity", Type: cel.StringType, get: of(func(w *actorView) ref.Val {
			if !w.known {
				return Unknown("actor.identity")
			}
			return value.Text(key.Identity(*w.a))
		})},
	}
}

func identityFields() []Field {
	get := func(name string, get func(*session.Identity) ref.Val, typ *cel.Type) Field {
		return Field{Name: name, Type: typ, get: of(get)}
	}
	return []Field{
		get("user", func(i *session.Identity) ref.Val { return value.Text(i.User) }, cel.StringType),
		get("uid", func(i *session.Identity) ref.Val { return value.Text(i.UID) }, cel.StringType),
		get("groups", func(i *session.Identity) ref.Val { return value.Texts(i.Groups) }, textList),
		get("extra", func(i *session.Identity) ref.Val {
			return value.NewDict(extraMap, types.NewDynamicMap(types.DefaultTypeAdapter, i.Extra))
		}, extraMap),
	}
}

// identity makes a field of an actor that is unknown as long as he is.
func identity(name string, get func(*session.Actor) string) Field {
	return who(name, cel.StringType, func(a *session.Actor) ref.Val { return value.Text(get(a)) })
}

func who(name string, typ *cel.Type, get func(*session.Actor) ref.Val) Field {
	return Field{Name: name, Type: typ, get: of(func(w *actorView) ref.Val {
		v := get(w.a)
		if l, ok := v.(*value.List); !w.known && (v == value.Absent || ok && l.N == 0) {
			return Unknown("actor." + name)
		}
		return v
	})}
}

func number(n *uint32) ref.Val {
	if n == nil {
		return value.Absent
	}
	return types.Int(*n)
}
