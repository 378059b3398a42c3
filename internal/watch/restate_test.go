package watch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestStatesAreToldAgain: on a quiet host the store hears every ten minutes who watches,
// and since when.
func TestStatesAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		began := time.Now()
		_, stop := running(t, Options{Witnesses: []Named{{Name: "steady", Witness: up("steady")}, {Name: "mute", Witness: witnessFunc(mute)}}, Keeper: m})
		time.Sleep(35*time.Minute + time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		var again []event.WitnessState
		for _, o := range m.observations {
			if s, ok := o.(event.WitnessState); ok && s.Witness == "steady" && s.Up && s.Time.After(began.Add(time.Minute)) {
				again = append(again, s)
			}
			if s, ok := o.(event.WitnessState); ok && s.Witness == "mute" && s.Up {
				t.Errorf("a witness that said nothing is told of: %+v", o)
			}
		}
		if len(again) != 3 {
			t.Fatalf("told %d times in 35 minutes", len(again))
		}
		for _, s := range again {
			if !s.Up || s.From.Sub(began).Abs() > time.Second {
				t.Errorf("%+v", s)
			}
		}
	})
}

func mute(ctx context.Context, _ func(event.Observation)) error {
	<-ctx.Done()
	return nil
}
