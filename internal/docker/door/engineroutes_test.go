package door

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/semver"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
)

// engineRoutes has the routes of a current engine, as its source registers them:
// METHOD /path, with {…} for a name. TestEngineSource compares it with the source;
// after a newer engine was chosen in testbed/docker/build it says what to change.
const engineRoutes = "testdata/engine-routes.txt"

// nowhere are routes of the engine that pass only by a rule that names UNKNOWN: what
// is for those who debug the daemon, and a method that no client uses.
var nowhere = regexp.MustCompile(`^GET /debug/|^OPTIONS `)

// TestEngineRoutes: the door knows every route of a current engine.
func TestEngineRoutes(t *testing.T) {
	b, err := os.ReadFile(engineRoutes)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\{[^}]*\}`)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		method, path, _ := strings.Cut(name.ReplaceAllString(line, "name"), " ")
		_, _, _, _, err := read(&http.Request{Method: method, URL: &url.URL{Path: path}})
		rt, _, known := find(method, path)
		switch {
		case strings.HasSuffix(path, "/"):
			if err == nil {
				t.Errorf("%s: it is not clean", line)
			}
		case nowhere.MatchString(line):
			if known {
				t.Errorf("%s: it is of channel %s", line, rt.channel)
			}
		case err != nil || !known || rt.channel == event.ChannelUnknown:
			t.Errorf("%s: not known here (%v)", line, err)
		}
	}
}

// TestEngineSource: the engine of make test-engine has the routes of the list, and
// reads bodies by types that are not newer than those here.
func TestEngineSource(t *testing.T) {
	testbed.Require(t, testbed.Engine)
	const moby, api = "github.com/moby/moby/v2", "github.com/moby/moby/api"
	dir, _ := module(t, "../../../testbed/docker/build", moby)
	var got []string
	call := regexp.MustCompile(`router\.New([A-Z][a-z]+)?Route\(("([^"]*)")?`)
	err := filepath.WalkDir(filepath.Join(dir, "daemon/server/router"), func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range call.FindAllStringSubmatch(string(b), -1) {
			if m[1] == "" || m[3] == "" {
				t.Errorf("%s: a route that this test cannot read: %s", path, m[0])
			}
			got = append(got, fmt.Sprintf("%s %s\n", strings.ToUpper(m[1]), m[3]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want, err := os.ReadFile(engineRoutes)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(slices.Compact(got), ""); all != string(want) {
		t.Errorf("the engine in %s has other routes than %s:\n%s", dir, engineRoutes, all)
	}
	_, theirs := module(t, "../../../testbed/docker/build", api)
	if _, ours := module(t, ".", api); semver.Compare(ours, theirs) < 0 {
		t.Errorf("the engine reads bodies by %s %s; update it here, where it is %s", api, theirs, ours)
	}
}

// module returns where a module is that another, in a directory, requires, and its
// version.
func module(t *testing.T, in, path string) (dir, version string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}} {{.Version}}", path)
	cmd.Dir = in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s in %s: %v", path, in, err)
	}
	dir, version, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	return dir, version
}
