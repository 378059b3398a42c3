package door_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
)

// patient decides nothing before the client is gone.
type patient struct{ asked, gone chan event.Channel }

func (p patient) Decide(ctx context.Context, s *session.Session, _ func(policy.Decision)) policy.Verdict {
	p.asked <- s.Channel
	<-ctx.Done()
	p.gone <- s.Channel
	return policy.Verdict{Decision: policy.Decision{Effect: effect.Deny}, Stopped: true}
}

func (p patient) Misread(*session.Session, error) bool { return true }

func (p patient) Created(*session.Session, string) {}

// TestGoneWhileDecided: a decision that takes its time ends with the client, also
// when the body of the request is still to be read.
func TestGoneWhileDecided(t *testing.T) {
	judge := patient{make(chan event.Channel), make(chan event.Channel)}
	socket := filepath.Join(t.TempDir(), "door.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	p := door.New(door.Options{Network: "unix", Address: standIn(t), Judge: judge, Stop: time.Second})
	go func() { done <- p.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	exec := `{"Cmd":["/bin/true"]}`
	for channel, sent := range map[event.Channel]string{
		event.ChannelDockerExec: request("POST /containers/box/exec", exec),
		event.ChannelDockerKill: request("POST /containers/box/kill", ""),
		// More is to come than ever does.
		event.ChannelDockerArchive: "PUT /containers/box/archive?path=/ HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("x", 64<<10),
		event.ChannelDockerBuild:   "POST /build HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(c, sent); err != nil {
			t.Fatal(err)
		}
		await := func(from chan event.Channel, what string) {
			t.Helper()
			select {
			case got := <-from:
				if got != channel {
					t.Fatalf("%s is %s, want %s", what, got, channel)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: not %s", channel, what)
			}
		}
		await(judge.asked, "asked")
		select {
		case <-judge.gone:
			t.Fatalf("%s: given up though the client is there", channel)
		case <-time.After(50 * time.Millisecond):
		}
		_ = c.Close()
		await(judge.gone, "gone")
	}
}
