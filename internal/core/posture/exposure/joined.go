package exposure

import "slices"

// Joined is an exposure or a change with all channels of neighbours that differ in
// nothing else: a stream that is opened by SPDY and by WebSocket is one line for people.
type Joined[T any] struct {
	Of       *T
	Channels []string
}

// Ways joins exposures, in their order.
func Ways(list []Exposure) []Joined[Exposure] {
	return join(list, func(e *Exposure) string { return string(e.Channel) }, func(a, b *Exposure) bool {
		return a.Direct && b.Direct && a.Actor == b.Actor && a.Target == b.Target && a.Scope == b.Scope && sameWay(a.Via, b.Via)
	})
}

// Changes joins changes, in their order.
func Changes(list []Change) []Joined[Change] {
	return join(list, (*Change).How, func(a, b *Change) bool {
		return a.Direct && b.Direct && a.Change == b.Change && a.Actor == b.Actor && a.Target == b.Target && a.Scope == b.Scope && sameWay(a.Via, b.Via)
	})
}

func join[T any](list []T, channel func(*T) string, same func(a, b *T) bool) (out []Joined[T]) {
	for i := range list {
		if n := len(out) - 1; n >= 0 && same(out[n].Of, &list[i]) {
			out[n].Channels = append(out[n].Channels, channel(&list[i]))
			continue
		}
		out = append(out, Joined[T]{&list[i], []string{channel(&list[i])}})
	}
	return out
}

// sameWay reports whether two paths are of the same steps by the same words.
func sameWay(a, b []Step) bool {
	return slices.EqualFunc(a, b, func(x, y Step) bool { return x.Edge == y.Edge }) && PathText(a) == PathText(b)
}
