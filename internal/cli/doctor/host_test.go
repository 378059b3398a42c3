package doctor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/sallyport/sallyport/internal/core/attack"
)

// TestHostOfCoverage: what could not be tried is unknown, and only what was tried
// is not there.
func TestHostOfCoverage(t *testing.T) {
	noDocker := func(x *exam) {
		x.docker = func(context.Context, string) (dockerFacts, error) {
			return dockerFacts{}, errors.New("connection refused")
		}
	}
	for name, tc := range map[string]struct {
		change  func(*exam)
		unclear []attack.Need
	}{
		"root sees that there is no Docker": {noDocker, nil},
		"another user does not":             {func(x *exam) { noDocker(x); x.uid = 1000 }, []attack.Need{attack.NeedDocker}},
		"another system has none of it":     {func(x *exam) { noDocker(x); x.uid, x.goos = 501, "darwin" }, nil},
		"no answer is no no": {func(x *exam) {
			x.docker = func(ctx context.Context, _ string) (dockerFacts, error) {
				<-ctx.Done()
				return dockerFacts{}, ctx.Err()
			}
		}, []attack.Need{attack.NeedDocker}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := well()
				tc.change(x)
				h := x.host(x.examine(t.Context()))
				if !slices.Contains(h.Have, attack.NeedKernel) && x.goos == "linux" || slices.Contains(h.Have, attack.NeedDocker) {
					t.Errorf("has %v", h.Have)
				}
				got := slices.DeleteFunc(slices.Clone(h.Unclear), func(n attack.Need) bool { return n != attack.NeedDocker })
				if !slices.Equal(got, tc.unclear) {
					t.Errorf("unclear %v, want %v among them", h.Unclear, tc.unclear)
				}
			})
		})
	}
}
