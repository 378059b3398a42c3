package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
)

const wantsTwo = `
version: 1
default: allow
rules:
  - {id: two, when: 'session.kind in ["exec", "start", "attach"]', effect: approve, severity: high, message: "Shells need two"}
`

// none is no login uid.
const none = ^uint32(0)

func actor(uid, login uint32) session.Actor {
	a := session.Actor{Kind: session.ActorUnix, UID: &uid, Exe: "/usr/bin/docker"}
	if login != none {
		a.LoginUID = &login
	}
	return a
}

func person(uid, login uint32) guard.Person { return guard.Person{Actor: actor(uid, login)} }

// office is a guard in whose rules two are needed, and what it told.
type office struct {
	*guard.Guard
	mu   sync.Mutex
	told []guard.Record
}

func open(t testing.TB, change ...func(*guard.Options)) *office {
	t.Helper()
	o := &office{}
	opt := guard.Options{
		Rules: load(t, wantsTwo), Enforce: true, Approvers: guard.Approvers{UIDs: []uint32{0, 1000, 1001}, GIDs: []uint32{77}}, Wait: time.Minute,
		Tell: func(r guard.Record) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.told = append(o.told, r)
		},
	}
	for _, f := range change {
		f(&opt)
	}
	o.Guard = guard.New(opt)
	t.Cleanup(o.Close)
	return o
}

// states are those that were told, in order.
func (o *office) states() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, r := range o.told {
		if r.Approval == nil {
			out = append(out, string(r.Decision.Effect))
			continue
		}
		out = append(out, string(r.Approval.State))
	}
	return strings.Join(out, " ")
}

func (o *office) last() guard.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told[len(o.told)-1]
}

var numbers struct {
	sync.Mutex
	n int
}

// newID returns an id that no other request has.
func newID() session.ID {
	numbers.Lock()
	defer numbers.Unlock()
	numbers.n++
	id := []byte("aaaaaaaaaaaaaaaa")
	for i, n := 0, numbers.n; n > 0; i, n = i+1, n/26 {
		id[i] += byte(n % 26)
	}
	return session.ID(id)
}

func asks(a session.Actor, change ...func(*session.Session)) *session.Session {
	s := request(event.ChannelDockerExec, a)
	s.ID, s.Started = newID(), time.Now()
	for _, f := range change {
		f(s)
	}
	return s
}

// asking is a decision that is waited for.
type asking struct {
	*session.Session
	leave  context.CancelFunc
	answer chan policy.Verdict
}

func (o *office) ask(t *testing.T, s *session.Session) asking {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := asking{s, cancel, make(chan policy.Verdict, 1)}
	go func() { a.answer <- o.Decide(ctx, s, nil) }()
	synctest.Wait()
	return a
}

// waits reports whether no decision is there yet.
func (a asking) waits() bool { return len(a.answer) == 0 }

func (a asking) want(t *testing.T, e effect.Effect, message string) {
	t.Helper()
	synctest.Wait()
	if a.waits() {
		t.Fatal("it waits")
	}
	if d := <-a.answer; d.Stopped == (e == effect.Allow) || !strings.Contains(d.Message, message) {
		t.Fatalf("%s %q, want %s %q", d.Effect, d.Message, e, message)
	}
}

// TestApproved: somebody else says yes, once; each step is told, with who and why.
func TestApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		a := o.ask(t, asks(actor(4321, none)))
		if !a.waits() {
			t.Fatalf("it does not wait: %+v", <-a.answer)
		}
		list, err := o.Approvals(person(0, none))
		if err != nil || len(list) != 1 || list[0].Approval.ID != a.ID || list[0].Approval.State != guard.StateWaiting ||
			list[0].Decision.Rule != "two" || !list[0].Approval.Until.Equal(time.Now().Add(time.Minute)) {
			t.Fatalf("%+v, %v", list, err)
		}
		time.Sleep(30 * time.Second)
		r, err := o.Approve(string(a.ID[:6]), person(0, 1000), guard.Answer{Reason: "incident 42"})
		if err != nil || r.Stopped || r.Approval.State != guard.StateApproved || *r.Approval.By.LoginUID != 1000 || r.Approval.Reason != "incident 42" || r.Approval.For != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		a.want(t, effect.Allow, "")
		if _, err := o.Deny(string(a.ID), person(0, none), ""); !errors.Is(err, guard.ErrSettled) || !strings.Contains(err.Error(), "approved by uid 0") {
			t.Errorf("%v", err)
		}
		if list, _ := o.Approvals(person(0, none)); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		if got := o.states(); got != "waiting approved" {
			t.Errorf("told %s", got)
		}
		again := o.ask(t, asks(actor(4321, none)))
		if !again.waits() {
			t.Error("one approval was for two")
		}
	})
}

// TestNotApproved: all ways in which nobody says yes.
func TestNotApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		denied := o.ask(t, asks(actor(4321, none)))
		if _, err := o.Deny(string(denied.ID), person(0, none), "not on a Friday"); err != nil {
			t.Fatal(err)
		}
		denied.want(t, effect.Deny, "denied by uid 0, whom rule two asks: not on a Friday (request "+string(denied.ID)+")")

		late := o.ask(t, asks(actor(4321, none)))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if !late.waits() {
			t.Error("too early")
		}
		time.Sleep(time.Second)
		late.want(t, effect.Deny, "not approved by rule two: Shells need two: nobody answered within 1m0s")
		if _, err := o.Approve(string(late.ID), person(0, none), guard.Answer{}); !errors.Is(err, guard.ErrSettled) {
			t.Error(err)
		}

		left := o.ask(t, asks(actor(4321, none)))
		left.leave()
		left.want(t, effect.Deny, "")
		if _, err := o.Approve(string(left.ID), person(0, none), guard.Answer{}); !errors.Is(err, guard.ErrSettled) || !strings.Contains(err.Error(), "withdrawn") {
			t.Error(err)
		}

		changed := o.ask(t, asks(actor(4321, none)))
		o.Use(load(t, "version: 1\ndefault: deny\n"))
		if _, err := o.Approve(string(changed.ID), person(0, none), guard.Answer{}); err != nil {
			t.Error(err)
		}
		changed.want(t, effect.Deny, "denied by default")
		o.Use(load(t, wantsTwo))

		closing := o.ask(t, asks(actor(4321, none)))
		o.Close()
		closing.want(t, effect.Deny, "sallyport stops")
		o.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "sallyport stops")
		// Whoever asked goes on while it is told that he may.
		got := strings.Replace(o.states(), "deny approved", "approved deny", 1)
		if want := "waiting denied waiting expired waiting withdrawn waiting approved deny waiting expired approve"; got != want {
			t.Errorf("told %s\nwant %s", got, want)
		}
		for _, r := range o.told {
			if r.Approval != nil && r.Approval.State != guard.StateWaiting && r.Stopped == (r.Approval.State == guard.StateApproved) {
				t.Errorf("%s: stopped %v", r.Approval.State, r.Stopped)
			}
		}
	})
}

// TestSecondPerson: who may approve, and whose requests.
func TestSecondPerson(t *testing.T) {
	const self, stranger, fine = "second person", "not an approver", ""
	gone := actor(1000, none)
	gone.Exe = ""
	inside := person(0, none)
	inside.Container = "d"
	member := person(2000, none)
	member.Groups = []uint32{5, 77}
	named := person(0, 1000)
	named.User, named.LoginUser = "root", "ann"
	nameless := person(0, 1000)
	nameless.User = "root"
	tls := func(name string) session.Actor { return session.Actor{Kind: session.ActorTLS, User: name} }
	for _, c := range []struct {
		asker session.Actor
		by    guard.Person
		want  string
	}{
		{actor(4321, none), person(0, none), fine},
		{actor(4321, none), person(0, 1000), fine},
		{actor(4321, none), member, fine},
		{actor(4321, none), person(2000, none), stranger},
		{actor(4321, none), person(4321, none), stranger},
		{actor(4321, none), guard.Person{Actor: gone}, stranger},
		{actor(4321, none), guard.Person{}, stranger},
		{actor(4321, none), inside, stranger},
		// Root and root are one, unless two people logged in.
		{actor(0, none), person(0, none), self},
		{actor(0, 1000), person(0, none), self},
		{actor(0, none), person(0, 1000), self},
		{actor(0, 1000), person(0, 1000), self},
		{actor(0, 1000), person(0, 1001), fine},
		// Who became root is still who he was.
		{actor(1000, 1000), person(0, 1000), self},
		{actor(1000, none), person(0, 1000), self},
		{actor(0, 1000), person(1000, none), self},
		{actor(0, 1000), person(1001, none), fine},
		{actor(1000, 1000), person(1000, 1001), fine},
		{tls("ann"), named, self},
		{tls("root"), named, self},
		{tls("Ann"), named, self},
		{tls("ann@example.org"), named, self},
		{tls("bob"), named, fine},
		// Nobody knows what he is called.
		{tls("bob"), person(0, none), self},
		{tls("bob"), nameless, self},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := open(t)
			a := o.ask(t, asks(c.asker))
			_, err := o.Approve(string(a.ID), c.by, guard.Answer{})
			if (err == nil) != (c.want == fine) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v by %+v: %v, want %q", c.asker, c.by, err, c.want)
			}
			if c.want == fine {
				a.want(t, effect.Allow, "")
				return
			}
			if synctest.Wait(); !a.waits() {
				t.Errorf("%+v by %+v: it was answered", c.asker, c.by)
			}
			r := o.last()
			if r.Approval == nil || r.Approval.State != guard.StateRefused || r.Approval.Reason != err.Error() || r.Request.ID != a.ID {
				t.Errorf("the attempt is not told of: %+v", r)
			}
			if c.want == stranger {
				if list, err := o.Approvals(c.by); err == nil {
					t.Errorf("a stranger sees %+v", list)
				}
				if _, err := o.Deny(string(a.ID), c.by, ""); !errors.Is(err, guard.ErrNotApprover) {
					t.Error(err)
				}
				return
			}
			if _, err := o.Deny(string(a.ID), c.by, ""); err != nil {
				t.Errorf("nobody may take back what he asked for: %v", err)
			}
		})
	}
}

// TestNobodyToAsk: what is refused at once.
func TestNobodyToAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := actor(4321, none)
		gone.Exe = ""
		o := open(t)
		o.ask(t, asks(gone)).want(t, effect.Deny, "nobody can tell who asks")
		o.ask(t, asks(session.Actor{Kind: session.ActorNone})).want(t, effect.Deny, "nobody can tell who asks")
		o.ask(t, asks(actor(4321, none), func(s *session.Session) { s.Argv = []string{strings.Repeat("x", 1<<17)} })).want(t, effect.Deny, "longer than a person")
		for range 16 {
			if a := o.ask(t, asks(actor(4321, none))); !a.waits() {
				t.Fatalf("%+v", <-a.answer)
			}
		}
		o.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "too many")
		if a := o.ask(t, asks(actor(4322, none))); !a.waits() {
			t.Error("one asker is in the way of another")
		}
		for i := range uint32(1000) {
			o.ask(t, asks(actor(5000+i, none)))
		}
		if list, _ := o.Approvals(person(0, none)); len(list) != 256 {
			t.Errorf("%d wait", len(list))
		}
		nobody := open(t, func(opt *guard.Options) { opt.Approvers = guard.Approvers{} })
		nobody.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "nobody can approve here")
		only := open(t, func(opt *guard.Options) { opt.Enforce = false })
		only.ask(t, asks(actor(4321, none))).want(t, effect.Allow, "")
		if r := only.last(); r.Stopped || r.Decision.Effect != effect.Approve || r.Approval != nil {
			t.Errorf("only observed: %+v", r)
		}
		build := func(s *session.Session) { s.Channel = event.ChannelDockerBuild }
		o.ask(t, asks(actor(4323, none), build)).want(t, effect.Deny, "only by a rule that asks for")
	})
}

// TestOneApprovalForBoth: for creating and starting an exec, or a container.
func TestOneApprovalForBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		approve := func(a asking) {
			t.Helper()
			if _, err := o.Approve(string(a.ID), person(0, none), guard.Answer{}); err != nil {
				t.Fatal(err)
			}
			a.want(t, effect.Allow, "")
		}
		start := func(change ...func(*session.Session)) *session.Session {
			return asks(actor(4321, none), append([]func(*session.Session){func(s *session.Session) { s.ExecID, s.ArgvSource = "x", "inspect" }}, change...)...)
		}
		create := o.ask(t, asks(actor(4321, none)))
		approve(create)
		o.Created(create.Session, "x")
		o.ask(t, start()).want(t, effect.Allow, "")
		if r := o.last(); r.Approval.ID != create.ID || r.Stopped || r.Request.ID == create.ID {
			t.Errorf("%+v", r)
		}
		other := start()
		other.Actor = actor(4322, none)
		o.ask(t, other).want(t, effect.Deny, "somebody else created")
		time.Sleep(2 * time.Minute)
		if a := o.ask(t, start()); !a.waits() {
			t.Error("an old approval")
		}

		run := func(s *session.Session) {
			s.Kind, s.Channel, s.Target = session.KindStart, event.ChannelDockerRun, session.Target{
				Image: "box", ImageID: "i", HostAccess: &event.HostAccess{Paths: []string{"/srv/a", "/srv/link"}, Capabilities: []string{"NET_ADMIN"}},
			}
		}
		given := func(h *event.HostAccess) func(*session.Session) {
			return func(s *session.Session) { s.Target.HostAccess = h }
		}
		made := func(s *session.Session) { run(s); s.Target.ContainerID, s.ArgvSource = "new", "inspect" }
		create = o.ask(t, asks(actor(4321, none), run))
		approve(create)
		o.Created(create.Session, "new")
		for name, c := range map[string]struct {
			s    *session.Session
			goes bool
		}{
			"the same":        {asks(actor(4321, none), made), true},
			"another":         {asks(actor(4322, none), made), false},
			"another command": {asks(actor(4321, none), made, func(s *session.Session) { s.Argv = []string{"sh"} }), false},
			"another image":   {asks(actor(4321, none), made, func(s *session.Session) { s.Target.ImageID = "j" }), false},
			"a restart":       {asks(actor(4321, none), made, func(s *session.Session) { s.Channel = event.ChannelDockerStart }), false},
			"elsewhere":       {asks(actor(4321, none), made, func(s *session.Session) { s.Target.ContainerID = "old" }), false},
			"less":            {asks(actor(4321, none), made, given(&event.HostAccess{Paths: []string{"/srv/link"}})), true},
			"nothing":         {asks(actor(4321, none), made, given(nil)), true},
			"another path":    {asks(actor(4321, none), made, given(&event.HostAccess{Paths: []string{"/", "/srv/link"}})), false},
			"a capability":    {asks(actor(4321, none), made, given(&event.HostAccess{Capabilities: []string{"ALL"}})), false},
			"a namespace":     {asks(actor(4321, none), made, given(&event.HostAccess{Namespaces: []string{"pid"}})), false},
			"a device":        {asks(actor(4321, none), made, given(&event.HostAccess{Devices: []string{"/dev/sda"}})), false},
			"all of it":       {asks(actor(4321, none), made, given(&event.HostAccess{Privileged: true})), false},
			"perhaps more":    {asks(actor(4321, none), made, given(&event.HostAccess{Partial: true})), false},
		} {
			if a := o.ask(t, c.s); a.waits() == c.goes {
				t.Errorf("%s: waits is %v", name, a.waits())
			}
		}
	})
}

// TestForATime: an approval for a time covers the same request, and no other.
func TestForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		grant := func() asking {
			t.Helper()
			a := o.ask(t, asks(actor(4321, none)))
			if r, err := o.Approve(string(a.ID), person(0, none), guard.Answer{For: 15 * time.Minute}); err != nil || r.Approval.For != 900 {
				t.Fatalf("%+v %v", r, err)
			}
			a.want(t, effect.Allow, "")
			return a
		}
		a := grant()
		time.Sleep(14 * time.Minute)
		o.ask(t, asks(actor(4321, none))).want(t, effect.Allow, "")
		if r := o.last(); r.Approval.ID != a.ID || r.Approval.State != guard.StateApproved || r.Stopped {
			t.Errorf("%+v", r)
		}
		process := actor(4321, none)
		process.PID, process.Exe = 7, "/bin/other"
		o.ask(t, asks(process)).want(t, effect.Allow, "")
		inside := actor(4321, none)
		inside.Container = "d"
		yes := true
		for name, s := range map[string]*session.Session{
			"another user":     asks(actor(4322, none)),
			"another login":    asks(actor(4321, 1000)),
			"from a container": asks(inside),
			"another command":  asks(actor(4321, none), func(s *session.Session) { s.Argv = []string{"id", "-u"} }),
			"joined":           asks(actor(4321, none), func(s *session.Session) { s.Argv = []string{"id", ""} }),
			"a terminal":       asks(actor(4321, none), func(s *session.Session) { s.TTY = true }),
			"input":            asks(actor(4321, none), func(s *session.Session) { s.Stdin = &yes }),
			"as somebody":      asks(actor(4321, none), func(s *session.Session) { s.User = "root" }),
			"a variable": asks(actor(4321, none), func(s *session.Session) {
				s.Carried = []session.Carried{{Place: session.PlaceVariable, Name: "LD_PRELOAD"}}
			}),
			"elsewhere":         asks(actor(4321, none), func(s *session.Session) { s.Target.ContainerID = "e" }),
			"another channel":   asks(actor(4321, none), func(s *session.Session) { s.Channel = event.ChannelDockerExecPriv }),
			"more of the host":  asks(actor(4321, none), func(s *session.Session) { s.Target.HostAccess = &event.HostAccess{Privileged: true} }),
			"not known in full": asks(actor(4321, none), func(s *session.Session) { s.Argv = nil }),
		} {
			if b := o.ask(t, s); !b.waits() {
				t.Errorf("%s: %+v", name, <-b.answer)
			} else {
				b.leave()
			}
		}
		gone := actor(4321, none)
		gone.Exe = ""
		o.ask(t, asks(gone)).want(t, effect.Deny, "nobody can tell who asks")
		o.Use(load(t, strings.ReplaceAll(wantsTwo, "id: two", "id: other")))
		if b := o.ask(t, asks(actor(4321, none))); !b.waits() {
			t.Error("another rule")
		}
		o.Use(load(t, "version: 1\ndefault: deny\n"))
		o.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "by default")
		o.Use(load(t, wantsTwo))

		time.Sleep(time.Minute)
		synctest.Wait()
		if r := o.last(); r.Approval == nil || r.Approval.State != guard.StateEnded && r.Approval.State != guard.StateExpired {
			t.Errorf("its end is not told of: %+v", r)
		}
		if !strings.Contains(o.states(), "ended") {
			t.Errorf("told %s", o.states())
		}
		b := o.ask(t, asks(actor(4321, none)))
		if !b.waits() {
			t.Error("it is over")
		}
		b.leave()
		synctest.Wait()

		a = grant()
		if list, _ := o.Approvals(person(0, none)); !slices.ContainsFunc(list, func(r guard.Record) bool { return r.Approval.ID == a.ID && r.Approval.State == guard.StateApproved }) {
			t.Errorf("%+v", list)
		}
		if r, err := o.Deny(string(a.ID[:8]), person(1000, none), "enough"); err != nil || r.Approval.State != guard.StateRevoked || r.Approval.Reason != "enough" {
			t.Errorf("%+v %v", r, err)
		}
		if b := o.ask(t, asks(actor(4321, none))); !b.waits() {
			t.Error("it was revoked")
		}
		part := o.ask(t, asks(actor(4321, none), func(s *session.Session) { s.Argv = nil }))
		for _, d := range []time.Duration{time.Minute, -1, 25 * time.Hour} {
			if _, err := o.Approve(string(part.ID), person(0, none), guard.Answer{For: d}); !errors.Is(err, guard.ErrNoGrant) {
				t.Errorf("%s: %v", d, err)
			}
		}
	})
}

// TestComeAgain: whoever does not wait is told how to ask, and comes again, once.
func TestComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, func(opt *guard.Options) { opt.Wait = 0 })
		first := asks(actor(4321, none))
		how := fmt.Sprintf("Shells need two: ask with: sallyport approve %s, then try again (request %s)", first.ID, first.ID)
		o.ask(t, first).want(t, effect.Deny, how)
		o.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "sallyport approve "+string(first.ID))
		o.ask(t, asks(actor(4321, none), func(s *session.Session) { s.Argv = nil })).want(t, effect.Deny, "not all of its command is known")
		if list, _ := o.Approvals(person(0, none)); len(list) != 1 || list[0].Approval.State != guard.StateAsked || !list[0].Stopped {
			t.Errorf("%+v", list)
		}
		if _, err := o.Approve(string(first.ID), person(0, none), guard.Answer{}); err != nil {
			t.Fatal(err)
		}
		o.ask(t, asks(actor(4322, none))).want(t, effect.Deny, "sallyport approve")
		o.ask(t, asks(actor(4321, none))).want(t, effect.Allow, "")
		o.ask(t, asks(actor(4321, none))).want(t, effect.Deny, "sallyport approve")
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if list, _ := o.Approvals(person(0, none)); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		if got, want := o.states(), "asked asked approve approved asked approved asked expired expired"; got != want {
			t.Errorf("told %s\nwant %s", got, want)
		}
	})
}

// TestIDs: the beginning of an id is enough when it is one's alone.
func TestIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		one, two := asks(actor(4321, none)), asks(actor(4321, none))
		one.ID, two.ID = "abcdefgh22222222", "abcdefgh33333333"
		a, b := o.ask(t, one), o.ask(t, two)
		if _, err := o.Approve("abcd", person(0, none), guard.Answer{}); !errors.Is(err, guard.ErrAmbiguous) {
			t.Error(err)
		}
		if _, err := o.Deny("abcd", person(0, none), ""); !errors.Is(err, guard.ErrAmbiguous) {
			t.Error(err)
		}
		if _, err := o.Approve("zzzz", person(0, none), guard.Answer{}); !errors.Is(err, guard.ErrUnknown) {
			t.Error(err)
		}
		if _, err := o.Approve("abcdefgh2", person(0, none), guard.Answer{}); err != nil {
			t.Error(err)
		}
		a.want(t, effect.Allow, "")
		if !b.waits() {
			t.Error("the other was answered")
		}
	})
}

// TestManyAnswersAtOnce: however many say something at the same time, one of them
// counts, and whoever asked gets that.
func TestManyAnswersAtOnce(t *testing.T) {
	for range 200 {
		o := open(t, func(opt *guard.Options) { opt.Wait = 20 * time.Millisecond })
		ctx, leave := context.WithCancel(t.Context())
		s := asks(actor(4321, none))
		got := make(chan policy.Verdict, 1)
		go func() { got <- o.Decide(ctx, s, nil) }()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var counted []guard.ApprovalState
		for i := range 8 {
			wg.Go(func() {
				for {
					var r guard.Record
					var err error
					switch i {
					case 7:
						leave()
						return
					case 0, 1, 2:
						r, err = o.Deny(string(s.ID), person(1000, none), "")
					default:
						r, err = o.Approve(string(s.ID), person(0, none), guard.Answer{})
					}
					if errors.Is(err, guard.ErrUnknown) {
						continue // not there yet
					}
					if err == nil {
						mu.Lock()
						counted = append(counted, r.Approval.State)
						mu.Unlock()
					} else if !errors.Is(err, guard.ErrSettled) {
						t.Error(err)
					}
					return
				}
			})
		}
		wg.Wait()
		d := <-got
		for began := time.Now(); len(strings.Fields(o.states())) < 2 && time.Since(began) < 5*time.Second; {
			time.Sleep(time.Millisecond) // whoever settled it tells of it after that
		}
		final := o.last().Approval.State
		if len(counted) > 1 || len(counted) == 1 && counted[0] != final || !d.Stopped != (final == guard.StateApproved) {
			t.Fatalf("counted %v, told %s, decided %+v", counted, o.states(), d)
		}
		if n := len(strings.Fields(o.states())); n != 2 {
			t.Fatalf("told %s", o.states())
		}
		leave()
	}
}
