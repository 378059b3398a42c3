package vm

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/kernel"
)

// TestGate stands the gate wherever the kernels have a place for it.
func TestGate(t *testing.T) {
	guests := bothGuests(t)
	const withoutBPF = "lsm=lockdown,capability,landlock,yama"
	for _, c := range []struct {
		arch                   Arch
		series, follow, params string
		at, stands             kernel.GateHook
		says                   string // how the error begins
	}{
		{AMD64, "6.1", "linux-image-cloud-amd64", withBPF, "", kernel.GateAtLSM, ""},
		{AMD64, "6.1", "linux-image-cloud-amd64", withoutBPF, "", kernel.GateAtSocket, ""},
		{AMD64, "6.12", "linux-image-6.12-cloud-amd64", withBPF, kernel.GateAtSocket, kernel.GateAtSocket, ""},
		{AMD64, "6.12", "linux-image-6.12-cloud-amd64", withBPF, "", kernel.GateAtLSM, ""},
		{AMD64, "6.12", "linux-image-6.12-cloud-amd64", withoutBPF, kernel.GateAtAddress, kernel.GateAtAddress, ""},
		{AMD64, "6.12", "linux-image-6.12-cloud-amd64", withoutBPF, kernel.GateAtLSM, "", "the kernel has no place for the gate: lsm/unix_stream_connect"},
		{ARM64, "6.12", "linux-image-6.12-cloud-arm64", withoutBPF, kernel.GateAtAddress, kernel.GateAtAddress, ""},
		{ARM64, "6.12", "linux-image-6.12-cloud-arm64", withBPF, "", kernel.GateAtLSM, ""},
		{AMD64, "6.1", "linux-image-cloud-amd64", withBPF, kernel.GateAtAddress, "", "the kernel has no place for the gate: cgroup/connect_unix"},
	} {
		t.Run(c.series+" "+c.arch.Name+" "+string(c.at)+" "+string(c.stands), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), bootWait)
			defer cancel()
			r, err := guests[c.arch.Name].Boot(ctx, fetch(ctx, t, c.arch, c.series, c.follow), c.params+" -- "+GateAt+string(c.at))
			if err != nil {
				t.Fatal(err)
			}
			if c.says != "" {
				if !strings.HasPrefix(r.Error, c.says) {
					t.Errorf("error %q, want %q", r.Error, c.says)
				}
				t.Log(r.Error)
				return
			}
			if r.Error != "" || r.Gate == nil {
				t.Fatalf("scenario: %s", r.Error)
			}
			checkGate(t, r.Gate, c.stands)
		})
	}
}

func checkGate(t *testing.T, r *GateReport, stands kernel.GateHook) {
	t.Helper()
	want := map[string]string{
		"path": GateRefused, "user": GateThrough, "another user": GateRefused, "symbolic link": GateRefused, "hard link": GateRefused,
		"open directory": GateRefused, "mounted elsewhere": GateRefused, "another socket": GateThrough, "off": GateThrough,
	}
	if stands == kernel.GateAtAddress {
		want["open directory"] = GateKilled
	}
	if diff := cmp.Diff(want, r.Ends); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	if r.Status.Stands != stands {
		t.Errorf("stands at %s, want %s", r.Status.Stands, stands)
	}
	if c := r.Status.Counts; c.Allowed != 1 || c.Refused+c.Killed != 6 || c.Lost != 0 || len(r.Sightings) != 6 {
		t.Errorf("counts %+v and %d sightings", c, len(r.Sightings))
	}
	for _, s := range r.Sightings {
		if s.Socket != Socket || s.Peer.ID.PID == 0 || s.Peer.ID.Start == 0 || s.Peer.Exe != "/init" || s.Peer.Cred.UID != 0 && s.Peer.Cred.UID != OtherUID+1 {
			t.Errorf("sighting %+v", s)
		}
	}
}
