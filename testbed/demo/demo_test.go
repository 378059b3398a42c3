package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestCaptureTellsTheScene replays the capture that stands in for the scene and
// demands every door of it, with the right person where a person asked.
func TestCaptureTellsTheScene(t *testing.T) {
	var out, errs bytes.Buffer
	if code := cli.Main([]string{"sallyport", "replay", "--json", "testdata/demo.capture.zst"}, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("replay: exit status %d: %s", code, errs.Bytes())
	}
	got := make(map[event.Channel][]string)
	for dec := json.NewDecoder(&out); dec.More(); {
		var s session.Session
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		who := s.Actor.User
		if s.Actor.Service != "" {
			who = string(s.Actor.Service)
		}
		got[s.Channel] = append(got[s.Channel], who)
	}
	for channel, people := range map[event.Channel][]string{
		event.ChannelDockerRun:    {"root", "root"},
		event.ChannelDockerExec:   {"games", "news", "backup"},
		event.ChannelDockerHealth: {"docker"},
		event.ChannelHostNsenter:  {"root"},
		event.ChannelHostChroot:   {"root"},
		event.ChannelRuntimeCtr:   {"root"},
		event.ChannelRuntimeRunc:  {"root"},
	} {
		for i, who := range people {
			if i >= len(got[channel]) || got[channel][i] != who {
				t.Errorf("%s: actors %q, want %q", channel, got[channel], people)
				break
			}
		}
	}
}
