package admission

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func command(container string, argv ...string) Command {
	return Command{Namespace: "shop", Pod: "web", Container: container, Argv: argv}
}

// passing is a call of Pass under way.
type passing struct {
	done  chan struct{}
	at    time.Time
	alone bool
}

func pass(ctx context.Context, g *Gate, nonce string, c Command) *passing {
	p := &passing{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.at, p.alone = g.Pass(ctx, nonce, c)
	}()
	synctest.Wait()
	return p
}

func (p *passing) gone() bool {
	synctest.Wait()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// TestOneByOne: of requests that cannot be told apart each waits for the start
// of the one before it, in order of arrival, and all are alone.
func TestOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		var all []*passing
		for i := range 5 {
			all = append(all, pass(t.Context(), g, fmt.Sprint(i), command("app", "id")))
		}
		for i, p := range all {
			if !p.gone() || !p.alone {
				t.Fatalf("request %d: gone %t, alone %t", i, p.gone(), p.alone)
			}
			if i+1 < len(all) && all[i+1].gone() {
				t.Fatalf("request %d went before the start of %d", i+1, i)
			}
			time.Sleep(20 * time.Millisecond)
			g.Started(command("app", "id"), time.Now())
		}
		if s := g.Stats(); s.Passed != 5 || s.Alone != 5 || s.Held != 4 || s.Timeout != 0 || s.Wait != 4*5*20*time.Millisecond/2 {
			t.Errorf("%+v", s)
		}
	})
}

// TestRun: what nodes/proxy runs may be any command: it waits for all others in
// its container, and they for it, until the kubelet has run something.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		run := Command{Namespace: "shop", Pod: "web", Container: "app", Run: true}
		pass(t.Context(), g, "1", command("app", "id"))
		ran := pass(t.Context(), g, "2", run)
		aside := pass(t.Context(), g, "3", command("side", "id"))
		after := pass(t.Context(), g, "4", command("app", "ls"))
		if ran.gone() || after.gone() || !aside.gone() {
			t.Fatalf("run gone %t, after it %t, in another container %t", ran.gone(), after.gone(), aside.gone())
		}
		g.Started(command("app", "id"), time.Now())
		if !ran.gone() || !ran.alone || after.gone() {
			t.Fatalf("run gone %t, alone %t, after it %t", ran.gone(), ran.alone, after.gone())
		}
		g.Started(command("app", "ls"), time.Now()) // somebody else's
		if after.gone() {
			t.Error("went before the kubelet had run anything")
		}
		run.Argv = []string{"ls"}
		g.Started(run, time.Now())
		if !after.gone() || !after.alone {
			t.Errorf("gone %t, alone %t", after.gone(), after.alone)
		}
	})
}

// TestCompany: while the kubelet runs the same command a request is held, but no
// longer than any other.
func TestCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		g := NewGate(GateOptions{Company: func(c Command, now time.Time, _ time.Duration) bool {
			return c.Argv[0] == "check" && now.Sub(begin) < 100*time.Millisecond || c.Argv[0] == "busy"
		}})
		if p := pass(t.Context(), g, "1", command("app", "id")); !p.gone() {
			t.Error("a request without company waited")
		}
		held, busy := pass(t.Context(), g, "2", command("app", "check")), pass(t.Context(), g, "3", command("app", "busy"))
		time.Sleep(90 * time.Millisecond)
		if held.gone() {
			t.Error("went in company")
		}
		time.Sleep(20 * time.Millisecond)
		if !held.gone() || !held.alone || held.at.Sub(begin) < 100*time.Millisecond {
			t.Errorf("gone %t, alone %t, at %v", held.gone(), held.alone, held.at.Sub(begin))
		}
		time.Sleep(2500 * time.Millisecond)
		if !busy.gone() {
			t.Error("held for ever")
		}
	})
}

// TestLead: where starts are slow, company is looked for further ahead.
func TestLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked time.Duration
		g := NewGate(GateOptions{Company: func(_ Command, _ time.Time, lead time.Duration) bool { asked = lead; return false }})
		lead := func() time.Duration {
			pass(t.Context(), g, "look", command("app", "look"))
			synctest.Wait()
			g.Over("look")
			return asked
		}
		if got := lead(); got != leadMin {
			t.Errorf("nothing has started yet: lead %v", got)
		}
		for i, took := range []time.Duration{700 * time.Millisecond, 20 * time.Millisecond} {
			pass(t.Context(), g, strconv.Itoa(i), command("app", "id"))
			synctest.Wait()
			time.Sleep(took)
			g.Started(command("app", "id"), time.Now())
		}
		if got := lead(); got != 700*time.Millisecond {
			t.Errorf("one took 700 ms: lead %v", got)
		}
		time.Sleep(paceFor)
		if got := lead(); got != leadMin {
			t.Errorf("long ago: lead %v", got)
		}
	})
}

// TestDifferent: requests that can be told apart do not wait for each other.
func TestDifferent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		for i, c := range []Command{
			command("app", "id"), command("side", "id"), command("app", "id", "-u"), command("app", "id -u"), command("app"),
			{Namespace: "shop", Pod: "db", Container: "app", Argv: []string{"id"}}, {Namespace: "other", Pod: "web", Container: "app", Argv: []string{"id"}},
		} {
			if p := pass(t.Context(), g, fmt.Sprint(i), c); !p.gone() || !p.alone {
				t.Errorf("%+v: gone %t, alone %t", c, p.gone(), p.alone)
			}
		}
	})
}

// TestDefaultContainer: a request that names no container may mean any.
func TestDefaultContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		first, second := pass(t.Context(), g, "1", command("", "id")), pass(t.Context(), g, "2", command("app", "id"))
		if !first.gone() || second.gone() {
			t.Fatal("the second did not wait")
		}
		g.Started(command("app", "id"), time.Now())
		if !second.gone() || !second.alone {
			t.Error("the second did not go alone after the start of the first")
		}
	})
}

// TestHoldIsBounded: a request whose predecessor does not start goes after a
// while and says that it was not alone, and so do those after it until nobody
// can be under way any more.
func TestHoldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{Hold: time.Second})
		pass(t.Context(), g, "1", command("app", "no-such"))
		second := pass(t.Context(), g, "2", command("app", "no-such"))
		time.Sleep(999 * time.Millisecond)
		if second.gone() {
			t.Fatal("went early")
		}
		time.Sleep(2 * time.Millisecond)
		if !second.gone() || second.alone {
			t.Fatalf("gone %t, alone %t", second.gone(), second.alone)
		}
		time.Sleep(10 * time.Second)
		if p := pass(t.Context(), g, "3", command("app", "no-such")); !p.gone() || p.alone {
			t.Errorf("after ten seconds: gone %t, alone %t; want it gone at once, not alone", p.gone(), p.alone)
		}
		time.Sleep(2 * time.Minute)
		if p := pass(t.Context(), g, "4", command("app", "no-such")); !p.gone() || !p.alone {
			t.Errorf("after two minutes: gone %t, alone %t", p.gone(), p.alone)
		}
	})
}

// TestStartBeforeLetGo: a process that started before a request was let go is
// not its own.
func TestStartBeforeLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		before := time.Now()
		time.Sleep(time.Millisecond)
		pass(t.Context(), g, "1", command("app", "id"))
		second := pass(t.Context(), g, "2", command("app", "id"))
		g.Started(command("app", "id"), before)
		if second.gone() {
			t.Error("an earlier process was taken for the first request's")
		}
	})
}

// TestRefused: what the API server refuses in the end is in nobody's way.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		pass(t.Context(), g, "1", command("app", "id"))
		second := pass(t.Context(), g, "2", command("app", "id"))
		g.Over("nobody's")
		g.Over("1")
		if !second.gone() || !second.alone {
			t.Errorf("gone %t, alone %t", second.gone(), second.alone)
		}
	})
}

// TestGivenUp: the API server gives up waiting, and so the request goes.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		pass(t.Context(), g, "1", command("app", "id"))
		ctx, cancel := context.WithCancel(t.Context())
		second := pass(ctx, g, "2", command("app", "id"))
		cancel()
		if !second.gone() || second.alone {
			t.Errorf("gone %t, alone %t", second.gone(), second.alone)
		}
	})
}

// TestUncovered: where nobody sees processes start nothing is held.
func TestUncovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{Covered: func(_, pod string) bool { return pod != "web" }})
		pass(t.Context(), g, "1", command("app", "id"))
		if p := pass(t.Context(), g, "2", command("app", "id")); !p.gone() || p.alone {
			t.Errorf("gone %t, alone %t", p.gone(), p.alone)
		}
	})
}

// TestFullGate: beyond its bounds it lets everybody go, and nobody is alone
// until those whom it could not follow are surely over.
func TestFullGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{Flights: 2, Waiting: 1})
		pass(t.Context(), g, "1", command("app", "id"))
		waits := pass(t.Context(), g, "2", command("app", "id"))
		if p := pass(t.Context(), g, "3", command("app", "id")); !p.gone() || p.alone || waits.gone() {
			t.Error("no room to wait, and yet it waited or was said to be alone")
		}
		pass(t.Context(), g, "4", command("app", "untracked")) // no room to follow it
		if p := pass(t.Context(), g, "5", command("app", "untracked")); !p.gone() || p.alone {
			t.Error("said to be alone beside one that is not followed")
		}
		time.Sleep(3 * time.Minute)
		if p := pass(t.Context(), g, "6", command("app", "untracked")); !p.alone {
			t.Error("not alone for ever")
		}
	})
}

// TestNothingStays: a gate that everybody has passed holds no memory.
func TestNothingStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { g.Pass(t.Context(), fmt.Sprint(i), command("app", fmt.Sprint(i%3))) })
		}
		wg.Wait()
		for i := range 50 {
			g.Started(command("app", fmt.Sprint(i%3)), time.Now())
		}
		if len(g.lanes.at) != 0 || len(g.lanes.nonces) != 0 || g.lanes.waiting != 0 {
			t.Errorf("left: %d lanes, %d nonces, %d waiting", len(g.lanes.at), len(g.lanes.nonces), g.lanes.waiting)
		}
	})
}

func BenchmarkPass(b *testing.B) {
	g := NewGate(GateOptions{})
	c := command("app", "sh", "-c", "id")
	for i := 0; b.Loop(); i++ {
		g.Pass(b.Context(), "n", c)
		g.Started(c, time.Now())
	}
}
