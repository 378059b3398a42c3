// Package sallyport holds the tests of the repository as a whole.
package sallyport

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport/"

// rings lists, from the inside out, who lives where in internal/. A package may
// import its own tree and anything in a ring strictly inside its own.
//
// This is a statement of policy: do not edit it to make a build pass.
var rings = [][]string{
	{"core", "lib"},
	{
		"scan", "watch", "guard", "drill", "replay", "serve", // verbs
		"docker", "kube", "kubelet", "containerd", "kernel", "hostlog", "hosts", "images", // nouns: outside systems
		"store", "bus", "web", "export", "recording", // nouns: our own outside
	},
	{"cli"},
}

// coreMay lists what internal/core may import of the standard library, a name
// that ends in / as a tree: nothing that does I/O, reads a clock or logs.
var coreMay = []string{
	"bytes", "cmp", "container/", "context", "crypto/sha256", "embed", "encoding", "encoding/", "errors",
	"fmt", "hash", "hash/", "iter", "maps", "math", "math/bits", "net/netip", "path", "reflect", "regexp", "regexp/syntax",
	"slices", "sort", "strconv", "strings", "text/template", "time", "unicode", "unicode/",
}

// policyMay lists what packages in internal/core may import besides: libraries
// that compute and do no I/O. docs/decisions/0009-rules.md says why, of sigma
// docs/decisions/0010-sigma.md.
var policyMay = map[string][]string{
	"policy":           {"cel.dev/cel-go/", "go.yaml.in/yaml/v4"},
	"policy/value":     {"cel.dev/cel-go/"},
	"policy/field":     {"cel.dev/cel-go/"},
	"policy/condition": {"cel.dev/cel-go/"},
	"policy/source":    {"go.yaml.in/yaml/v4"},
	"policy/sigma":     {"go.yaml.in/yaml/v4"},
	"policy/ruletest":  {"go.yaml.in/yaml/v4"},
}

// coreNever lists, by package, the functions that would make core depend on
// more than its input: its time comes from observations.
var coreNever = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"},
}

// forbidden lists what must not be linked into the product, each with its reason.
var forbidden = map[string]string{
	"testing":                         "test code does not belong in the product",
	"github.com/google/go-cmp/cmp":    "it panics by design; for tests only",
	module + "testbed":                "the product does not start daemons",
	"net/http/pprof":                  "it registers itself on the default mux; debug handlers are wired by hand",
	"expvar":                          "it registers itself on the default mux",
	"plugin":                          "needs cgo",
	"github.com/docker/docker/client": "the moby/moby/client module is the maintained one",
	"log":                             "log/slog, passed in",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func ring(folder string) int {
	return slices.IndexFunc(rings, func(r []string) bool { return slices.Contains(r, folder) })
}

func TestDependencyDirection(t *testing.T) {
	for _, p := range list(t, "./internal/...") {
		rest, _ := strings.CutPrefix(p.ImportPath, module+"internal/")
		from, _, _ := strings.Cut(rest, "/")
		if ring(from) < 0 {
			t.Errorf("%s: internal/%s has no ring; add it to the policy", p.ImportPath, from)
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module+"testbed") || strings.HasPrefix(imp, module+"corpus") {
				t.Errorf("%s must not import %s: only tests may", p.ImportPath, imp)
			}
			rest, ok := strings.CutPrefix(imp, module+"internal/")
			if !ok {
				continue
			}
			to, _, _ := strings.Cut(rest, "/")
			if to != from && ring(to) >= ring(from) {
				t.Errorf("internal/%s must not import internal/%s (%s imports %s)", from, to, p.ImportPath, imp)
			}
		}
	}
}

func TestCoreImportsOnlyWhatIsPure(t *testing.T) {
	for _, p := range list(t, "./internal/core/...") {
		for _, imp := range p.Imports {
			own := strings.HasPrefix(imp, module+"internal/core/")
			may := slices.Concat(coreMay, policyMay[strings.TrimPrefix(p.ImportPath, module+"internal/core/")])
			pure := slices.ContainsFunc(may, func(ok string) bool {
				return imp == ok || strings.HasSuffix(ok, "/") && strings.HasPrefix(imp, ok)
			})
			if !own && !pure {
				t.Errorf("%s must not import %s: core does no I/O and knows no outside", p.ImportPath, imp)
			}
		}
	}
}

func TestCoreHasNoClockAndNoGoroutines(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir("internal/core", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, v := range impurities(file) {
			t.Errorf("%s: %s", fset.Position(v.pos), v.what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type violation struct {
	pos  token.Pos
	what string
}

// impurities reports go statements and calls of coreNever in a file.
func impurities(file *ast.File) []violation {
	names := make(map[string]string) // local name -> import path
	for _, imp := range file.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		name := filepath.Base(path)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = path
	}
	var found []violation
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, violation{n.Pos(), "core starts no goroutines"})
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(coreNever[names[x.Name]], n.Sel.Name) {
				found = append(found, violation{n.Pos(), "core must not use " + x.Name + "." + n.Sel.Name + ": time comes with the observations"})
			}
		}
		return true
	})
	return found
}

func TestImpuritiesAreSeen(t *testing.T) {
	const src = `package p
import clock "time"
func f() { go f(); _ = clock.Now(); _ = clock.Second }`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := impurities(file); len(got) != 2 {
		t.Errorf("impurities = %v, want the go statement and the clock", got)
	}
}

// TestProductLinksNothingForbidden looks only at who of our own packages, or
// what they import directly, brings a forbidden package in: what libraries use
// inside is theirs, except for packages that must not be in the binary at all.
func TestProductLinksNothingForbidden(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/sallyport") {
		if strings.HasPrefix(p.ImportPath, module+"testbed") {
			t.Errorf("the product links %s: %s", p.ImportPath, forbidden[module+"testbed"])
		}
		if !strings.HasPrefix(p.ImportPath, strings.TrimSuffix(module, "/")) {
			continue
		}
		for _, imp := range p.Imports {
			if why, bad := forbidden[imp]; bad {
				t.Errorf("%s must not import %s: %s", p.ImportPath, imp, why)
			}
		}
	}
}

// TestPackagesSayWhatTheyAre demands one package comment per package.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", "{{if not .Doc}}{{.ImportPath}}{{end}}", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p != strings.TrimSuffix(module, "/") { // tests only
			t.Errorf("%s has no package comment", p)
		}
	}
}
