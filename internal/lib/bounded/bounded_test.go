package bounded_test

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/lib/bounded"
)

func TestTable(t *testing.T) {
	var dropped []string
	table := bounded.NewTable[int](2, func(s string) { dropped = append(dropped, s) })
	table.Add(1, "a")
	table.Add(2, "b")
	if v, ok := table.Get(1); v != "a" || !ok {
		t.Errorf("1 is %q, %v", v, ok)
	}
	table.Add(3, "c") // 2 is unused for longest
	table.Forget(1)
	table.Forget(1)
	if !slices.Equal(dropped, []string{"b", "a"}) || table.Len() != 1 || table.Evicted() != 1 {
		t.Errorf("dropped %q, %d left, %d evicted", dropped, table.Len(), table.Evicted())
	}
	if v, ok := table.Get(2); v != "" || ok {
		t.Errorf("2 is %q, %v", v, ok)
	}
}

func TestBudget(t *testing.T) {
	b := bounded.Budget{Limit: 10}
	var one, other []byte
	for _, s := range []struct {
		buf   *[]byte
		add   string
		limit int
		want  bool
	}{{&one, "1234", 4, true}, {&one, "5", 4, false}, {&other, "123456", 9, true}, {&other, "7", 9, false}} {
		if got := b.Hold(s.buf, []byte(s.add), s.limit); got != s.want {
			t.Errorf("%q: %v", s.add, got)
		}
	}
	b.Free(&one)
	b.Release(2)
	if b.Held() != 4 || one != nil || string(other) != "123456" {
		t.Errorf("%d held, %q, %q", b.Held(), one, other)
	}
}
