package exposure

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Removal is a binding whose removal, or a setting whose change, closes exposures.
type Removal struct {
	Binding string           `json:"object"`         // or the setting
	Host    string           `json:"host,omitempty"` // where Patch is to be run; absent for kubectl
	Origin  inventory.Origin `json:"origin,omitzero"`
	Role    string           `json:"role,omitempty"`
	// Closes is how many pairs of an actor and a pod are closed by it, after those
	// that were named before it; Left is how many stay open then. It is 0 when
	// another binding gives the same: then it takes those that follow, too.
	Closes int `json:"closes"`
	Left   int `json:"left"`
	// Actors are those who lose something, at most namedMax by name.
	Actors []Actor `json:"actors,omitempty"`
	Losers int     `json:"losers"` // how many actors lose something
	// Patch is the command that removes it.
	Patch string `json:"patch"`
}

// Cutting is what to remove, in order.
type Cutting struct {
	Removals []Removal
	// Pairs is how many pairs of an actor and a pod there are, Lasting how many of
	// them rest on nothing but what every new cluster has, or on what is no binding and no
	// setting that is known: they are never proposed.
	Pairs, Lasting int
}

const (
	namedMax = 8
	// triedMax bounds the bindings whose removal is worked out in each round; they
	// are those that most pairs may depend on.
	triedMax = 160
	// seemedMax bounds the graphs that are built to find the next removal.
	seemedMax = 4
)

// Cut returns the bindings and settings, one after the other, whose removal closes most
// pairs of an actor and a pod that are left, at most so many. It counts the pods that are wanted;
// nil wants all. It is greedy: each removal is the best next to those before it. Members
// of system:masters and the nodes themselves are left out: no binding makes them what
// they are. hosts says who gets onto nodes by way of hosts after such changes; nil leaves the
// entries of the analysis as they are.
func (a *Analysis) Cut(wanted func(*inventory.Pod) bool, most int, hosts func(changed []Closer) []Entry) (out Cutting) {
	c := newCutter(a, wanted)
	c.again = hosts
	c.begin(nil)
	out.Pairs, out.Lasting = c.pairs, c.stays
	for len(out.Removals) < most && c.pairs > c.stays {
		after, r, ok := c.next(wanted)
		if !ok {
			break
		}
		c, out.Removals = after, append(out.Removals, r)
	}
	out.Lasting = max(out.Lasting, c.stays)
	out.Trim()
	return out
}

// Add takes in what to remove elsewhere, where nothing changes anything here: the best of
// both come first, at most so many. What closes nothing by itself stays before what follows it.
func (c *Cutting) Add(o Cutting, most int) {
	left, its := c.Pairs, o.Pairs
	a, b := c.Removals, o.Removals
	c.Pairs, c.Lasting, c.Removals = c.Pairs+o.Pairs, c.Lasting+o.Lasting, nil
	for len(c.Removals) < most && len(a)+len(b) > 0 {
		from, rest := &a, &left
		if next(b) > next(a) {
			from, rest = &b, &its
		}
		r := (*from)[0]
		*from, *rest = (*from)[1:], r.Left
		r.Left = left + its
		c.Removals = append(c.Removals, r)
	}
	c.Trim()
}

// next is what the first of a list closes that closes anything.
func next(list []Removal) int {
	for i := range list {
		if list[i].Closes > 0 {
			return list[i].Closes
		}
	}
	return -1
}

// Trim leaves out what closes nothing at the end: what it was to make way for does not follow.
func (c *Cutting) Trim() {
	for n := len(c.Removals); n > 0 && c.Removals[n-1].Closes == 0; n-- {
		c.Removals = c.Removals[:n-1]
	}
}

// cutter counts what actors reach of the wanted pods.
type cutter struct {
	*counter
	wanted         []bool // by pod; nil for all
	count          int    // of wanted pods
	who            []int32
	reach, lasting map[int32]int // of each actor, now and with default bindings alone
	pairs, stays   int           // the sums of these
	again          func(changed []Closer) []Entry
	changed        []Closer // settings that are not what they were
}

func newCutter(a *Analysis, wanted func(*inventory.Pod) bool) *cutter {
	c := &cutter{counter: newCounter(a), count: len(a.cluster.Pods)}
	c.who = c.actors()
	if wanted == nil {
		return c
	}
	c.wanted, c.count = make([]bool, len(a.cluster.Pods)), 0
	for i := range a.cluster.Pods {
		if wanted(&a.cluster.Pods[i]) {
			c.wanted[i] = true
			c.count++
		}
	}
	return c
}

// rests counts what rests on nothing that can be removed.
func (c *cutter) rests() {
	for b := range c.removed {
		c.removed[b] = b >= len(c.cluster.Bindings) || !c.cluster.Bindings[b].Default
	}
	then := *c
	then.counter = c.instead(c.lost(c.who, func(b int32) bool { return c.removed[b] }))
	c.lasting, c.stays = then.all()
	clear(c.removed)
}

// begin counts what there is while some settings are changed.
func (c *cutter) begin(changed []Closer) {
	c.rests()
	for n := range c.closers {
		c.removed[c.setting(n)] = slices.Contains(changed, c.closers[n])
	}
	c.changed = changed
	c.reach, c.pairs = c.all()
}

// next removes what closes most. What closes less than it seemed to gives way to others,
// a few times.
func (c *cutter) next(wanted func(*inventory.Pod) bool) (after *cutter, r Removal, ok bool) {
	seemed := map[int]bool{}
	for {
		best, more := c.best(seemed)
		if !more || ok && best.closes <= r.Closes {
			return after, r, ok
		}
		then, removal := c.remove(best, wanted)
		if removal.Closes == best.closes {
			return then, removal, true
		}
		if !ok || removal.Closes > r.Closes {
			after, r, ok = then, removal, true
		}
		if seemed[best.binding] = true; len(seemed) == seemedMax {
			return after, r, ok
		}
	}
}

// remove takes a binding or setting away and says what that closes. Where others may do as
// well it leaves c as it is, and returns another cutter.
func (c *cutter) remove(b removed, wanted func(*inventory.Pod) bool) (*cutter, Removal) {
	setting := b.binding - len(c.cluster.Bindings)
	if setting >= 0 && c.again != nil && c.closers[setting].Host != "" {
		return c.rebuild(b, c.closers[setting], wanted)
	}
	c.removed[b.binding] = true
	lost := c.lost(c.holders[b.binding], func(other int32) bool { return int(other) == b.binding })
	if len(lost) > 0 {
		return c.replace(b, lost)
	}
	if setting >= 0 {
		c.changed = append(slices.Clone(c.changed), c.closers[setting])
	}
	c.pairs -= b.closes
	maps.Copy(c.reach, b.reach)
	return c, c.removal(b, c.pairs)
}

// replace takes a binding away of which some take a grant together with others: another
// grant may do as well.
func (c *cutter) replace(b removed, lost []int32) (*cutter, Removal) {
	next := *c
	next.counter, next.reach = c.instead(lost), maps.Clone(c.reach)
	c.removed[b.binding] = false
	next.look()
	closes, reach := 0, map[int32]int{}
	for n := range b.reach {
		if pods := next.pods(n); pods < c.reach[n] {
			closes += c.reach[n] - pods
			reach[n], next.reach[n] = pods, pods
		}
	}
	b.closes, b.reach = closes, reach
	next.pairs -= closes
	return &next, next.removal(b, next.pairs)
}

// rebuild changes a host's setting. Somebody gets onto a host by the first setting that
// lets him: when that one goes another may do as well, so the graph is built again.
func (c *cutter) rebuild(b removed, setting Closer, wanted func(*inventory.Pod) bool) (*cutter, Removal) {
	left := *c.cluster
	left.Bindings = nil
	for i := range c.cluster.Bindings {
		if !c.removed[i] {
			left.Bindings = append(left.Bindings, c.cluster.Bindings[i])
		}
	}
	changed := append(slices.Clone(c.changed), setting)
	next := newCutter(New(&left, c.again(changed)...), wanted)
	next.again = c.again
	next.begin(changed)
	lost := map[int32]int{}
	for n, pods := range c.reach {
		now := 0
		if at, ok := next.number[c.places[n]]; ok {
			now = next.reach[at]
		}
		if now < pods {
			lost[n] = now
		}
	}
	b.closes, b.reach = c.pairs-next.pairs, lost
	return next, c.removal(b, next.pairs)
}

// all returns what each actor reaches, and the sum.
func (c *cutter) all() (reach map[int32]int, sum int) {
	reach = map[int32]int{}
	c.look()
	for _, n := range c.who {
		if pods := c.pods(n); pods > 0 {
			reach[n] = pods
			sum += pods
		}
	}
	return reach, sum
}

// pods returns how many of the wanted pods an identity reaches.
func (c *cutter) pods(start int32) (n int) {
	if c.wanted == nil {
		return c.counter.pods(start)
	}
	if c.reaches[start] {
		return c.count
	}
	c.each(start, func(pod int32) {
		if c.wanted[pod] {
			n++
		}
	})
	return n
}

func (a *Analysis) removal(b removed, left int) Removal {
	var who []Actor
	for n := range sorted(b.reach) {
		who = append(who, actorAt(a.places[n]))
	}
	if n := b.binding - len(a.cluster.Bindings); n >= 0 {
		return NewRemoval(&a.closers[n], b.closes, left, who)
	}
	binding := &a.cluster.Bindings[b.binding]
	return newRemoval(Removal{Binding: binding.String(), Origin: binding.Origin, Role: binding.Role, Patch: Unbind(binding)}, b.closes, left, who)
}

// NewRemoval returns the change of a setting that closes so many pairs and leaves so many
// open, by which some lose something.
func NewRemoval(c *Closer, closes, left int, who []Actor) Removal {
	return newRemoval(Removal{Binding: c.Setting, Host: c.Host, Origin: c.Origin, Patch: c.Patch}, closes, left, who)
}

func newRemoval(r Removal, closes, left int, who []Actor) Removal {
	r.Closes, r.Left, r.Losers = closes, left, len(who)
	r.Actors = slices.Clone(who[:min(len(who), namedMax)])
	return r
}

// Unbind returns the command that removes a binding.
func Unbind(b *inventory.Binding) string {
	if b.Namespace == "" {
		return "kubectl delete clusterrolebinding " + Word(b.Name)
	}
	return "kubectl delete rolebinding -n " + Word(b.Namespace) + " " + Word(b.Name)
}

// Word writes a name so that a shell takes it for one word and nothing else, and
// kubectl for no flag.
func Word(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:/", r)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		name = "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(strings.TrimPrefix(name, "'"), "-") {
		return "-- " + name
	}
	return name
}

// removed is a binding or setting thought away, and what those reach then who lost
// something.
type removed struct {
	binding, closes int
	reach           map[int32]int
}

// best finds the binding whose removal closes most; where none closes anything by
// itself, the one that most pairs may depend on. It leaves some out, and returns false when
// there is none.
func (c *cutter) best(but map[int]bool) (best removed, ok bool) {
	users, weight := make([][]int32, len(c.removed)), make([]int, len(c.removed)) // by binding and setting
	var tried []int
	c.look()
	for _, n := range c.who {
		if c.reach[n] <= c.lasting[n] {
			continue
		}
		c.behind(n, func(b int32) {
			of := users[b]
			if len(of) > 0 && of[len(of)-1] == n || int(b) < len(c.cluster.Bindings) && c.cluster.Bindings[b].Default {
				return
			}
			if len(of) == 0 && !but[int(b)] {
				tried = append(tried, int(b))
			}
			users[b], weight[b] = append(of, n), weight[b]+c.reach[n]
		})
	}
	slices.SortFunc(tried, func(x, y int) int { return cmp.Or(cmp.Compare(weight[y], weight[x]), cmp.Compare(x, y)) })
	for _, b := range tried[:min(len(tried), triedMax)] {
		if weight[b] <= best.closes {
			break // it cannot be better
		}
		if r := c.without(b, users[b]); !ok || r.closes > best.closes {
			best, ok = r, true
		}
	}
	return best, ok
}

// without returns what is closed when a binding goes. It leaves all as look left it.
func (c *cutter) without(binding int, users []int32) removed {
	r := removed{binding: binding, reach: map[int32]int{}}
	c.removed[binding] = true
	lost := c.lose(binding)
	for _, n := range users {
		if pods := c.pods(n); pods < c.reach[n] {
			r.closes += c.reach[n] - pods
			r.reach[n] = pods
		}
	}
	c.removed[binding] = false
	for _, n := range lost {
		c.reaches[n] = true
	}
	return r
}
