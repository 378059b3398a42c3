package audit

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/core/event"
)

// ParseList reads an EventList, the body of a webhook's POST. It gives each
// relevant event to emit and each item that is no audit event to bad, and
// returns how many items there were. A body that is no EventList at all, or ends
// too early, is an error; what came before the damage has then been given.
func ParseList(body []byte, emit func(event.KubeRequest), bad func(item []byte, err error)) (int, error) {
	n, seen := 0, false
	m := membersOf(body)
	for m.next() {
		switch string(m.key) {
		case "kind":
			if kind := text(m.value); kind != "EventList" {
				return n, fmt.Errorf("read event list: kind is %.40q", kind)
			}
		case "items":
			seen = true
			items := elementsOf(m.value)
			for items.next() {
				n++
				var q event.KubeRequest
				ok, err := Parse(items.value, &q)
				if err != nil {
					bad(items.value, err)
				} else if ok {
					emit(q)
				}
			}
			m.bad = m.bad || items.bad
		}
	}
	if m.bad || m.end == 0 || skipSpace(body, m.end) != len(body) || !seen {
		return n, fmt.Errorf("read event list: %w", errNoList)
	}
	return n, nil
}
