package coverage

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/attack"
)

// channels runs the command on the machine as it is.
func channels(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	env := &terminal.Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}
	cmd := NewChannels(env)
	cmd.SetArgs(append(args, "--docker", "unix://"+t.TempDir()+"/none.sock", "--containerd", t.TempDir()+"/none.sock"))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestChannelsJSON(t *testing.T) {
	out, err := channels(t, "--json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(attack.Channels()) {
		t.Fatalf("%d lines for %d channels", len(lines), len(attack.Channels()))
	}
	for _, line := range lines {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"id", "family", "way", "planned", "techniques", "observed", "attributed", "guarded", "scanned", "drilled", "here"} {
			if _, ok := row[key]; !ok {
				t.Errorf("%s has no %s", row["id"], key)
			}
		}
	}
}

func TestChannelsTable(t *testing.T) {
	out, err := channels(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out, "\n"); got != len(attack.Channels())+1 {
		t.Errorf("%d lines for %d channels and a title", got, len(attack.Channels()))
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours, but this is no terminal")
	}
}

func TestChannelsFilters(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want func(attack.Row) bool
	}{
		"family":       {[]string{"--family", "docker"}, func(r attack.Row) bool { return r.Family == "docker" }},
		"two families": {[]string{"--family", "host,cloud"}, func(r attack.Row) bool { return r.Family == "host" || r.Family == "cloud" }},
		"observed":     {[]string{"--observed"}, func(r attack.Row) bool { return r.Observed }},
		"one":          {[]string{"dk-exec", "--json"}, func(r attack.Row) bool { return r.ID == "DK-EXEC" }},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := channels(t, append(tc.args, "--json")...)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range attack.Rows() {
				if got := strings.Contains(out, `"id":"`+string(r.ID)+`"`); got != tc.want(r) {
					t.Errorf("%s is listed: %v", r.ID, got)
				}
			}
		})
	}
}

func TestChannelsRefuses(t *testing.T) {
	for _, args := range [][]string{{"--family", "dock"}, {"DK-NONE"}} {
		_, err := channels(t, args...)
		var f *exit.Error
		if !errors.As(err, &f) || f.Code != exit.Usage || f.Hint() == "" {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestChannelDetails(t *testing.T) {
	out, err := channels(t, "KL-RO")
	if err != nil {
		t.Fatal(err)
	}
	const want = `KL-RO  kubelet's read-only port 10255
  door        neither (reads only)
  technique   T1613 Container and Resource Discovery
  this host   -, attributed: none
  nothing is claimed of it
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}
