package attack

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the module's root, seen from this package.
const root = "../../.."

// TestClaimsAreProven fails when a claim names a test that does not exist. That
// a claim names a test at all is a matter of parseClaims.
func TestClaimsAreProven(t *testing.T) {
	for _, c := range Claims() {
		for _, test := range c.Tests {
			if err := find(root, test); err != nil {
				t.Errorf("%s %s: %v", c.Channel, c.Does, err)
			}
		}
	}
}

// find looks for a test in the sources below root. Subtests are found by name
// where it stands in the test's package as a string (in t.Run or in a table),
// or where it is the name of a txtar file that the test's package reads.
func find(root string, test Test) error {
	dir := filepath.Join(root, filepath.FromSlash(test.Package()))
	name, sub := test.Func()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: no test files in %s", test, test.Package())
	}
	var declared bool
	said := make(map[string]bool)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		declared = declared || declares(f, name)
		collect(f, said)
	}
	if !declared {
		return fmt.Errorf("%s: no func %s", test, name)
	}
	for _, part := range strings.FieldsFunc(sub, func(r rune) bool { return r == '/' }) {
		if !said[part] && !corpusCase(dir, said, part) {
			return fmt.Errorf("%s: no subtest %q", test, part)
		}
	}
	return nil
}

func declares(f *ast.File, name string) bool {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
			return true
		}
	}
	return false
}

// collect adds the string literals of a file, as testing spells them in names.
func collect(f *ast.File, said map[string]bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				said[strings.ReplaceAll(s, " ", "_")] = true
			}
		}
		return true
	})
}

// corpusCase reports whether some string of the package is a glob of txtar
// files, from the package's folder, that matches name.
func corpusCase(dir string, said map[string]bool, name string) bool {
	for s := range said {
		if !strings.HasSuffix(s, "*.txtar") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, filepath.Dir(s), name+".txtar")); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// TestFindFails shows that find does not take everything.
func TestFindFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a_test.go", `package a
func TestA(t *testing.T) { t.Run("one two", nil); filepath.Glob("*.txtar") }
func (x) TestMethod() {}`)
	write("story.txtar", "")
	for test, want := range map[Test]string{
		".TestA":             "",
		".TestA/one_two":     "",
		".TestA/story":       "",
		".TestB":             "no func TestB",
		".TestMethod":        "no func TestMethod",
		".TestA/three":       `no subtest "three"`,
		".TestA/story/three": `no subtest "three"`,
		"b.TestA":            "no test files in b",
	} {
		err := find(dir, test)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", test, err, want)
		}
	}
}
