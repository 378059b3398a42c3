// Package ruleset reads rules and their tests: from files and directories, or those of
// the pack that is in the program.
package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/ruletest"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/lib/atmost"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/rules"
)

// Files reads rules, or with tests rule tests, from files and directories; without any,
// and for the word shipped, those of the shipped pack. It reads until it finds the same twice:
// whoever changes files meanwhile does not leave some old and some new ones.
func Files(paths []string, tests bool) ([]policy.File, error) {
	if len(paths) == 0 {
		return shipped(tests)
	}
	before, err := readRuleFiles(paths, tests)
	for range rereadMax {
		files, again := readRuleFiles(paths, tests)
		switch {
		case err != nil && again != nil:
			return nil, again
		case err == nil && again == nil && slices.EqualFunc(before, files, sameRules):
			return files, nil
		}
		before, err = files, again // also where a directory was taken away that was read
	}
	return nil, exit.Fail(exit.Usage, "put a directory that is complete in its place, in one step", "rules: %s: the files change all the time", strings.Join(paths, ", "))
}

// rereadMax is how often files are read again that change.
const rereadMax = 10

func sameRules(a, b policy.File) bool { return a.Name == b.Name && bytes.Equal(a.Data, b.Data) }

func readRuleFiles(paths []string, tests bool) ([]policy.File, error) {
	var files []policy.File
	for _, p := range paths {
		if p == config.RulesShipped { // a directory of that name is ./shipped
			pack, err := shipped(tests)
			if err != nil {
				return nil, err
			}
			files = append(files, pack...)
			continue
		}
		info, err := os.Stat(p)
		switch {
		case err != nil:
		case info.IsDir():
			var found []policy.File
			found, err = readRuleDir(p, tests)
			files = append(files, found...)
		case strings.HasSuffix(p, ruletest.Suffix) == tests:
			var data []byte
			data, err = atmost.ReadFile(p, rulesFileMax)
			files = append(files, policy.File{Name: p, Data: data})
		}
		if err != nil {
			return nil, exit.Fail(exit.Usage, "", "rules: %w", err)
		}
	}
	if len(files) == 0 && !tests {
		return nil, exit.Fail(exit.Usage, "a file of rules ends in .yaml or .yml", "no rules in %s", strings.Join(paths, ", "))
	}
	return files, nil
}

// rulesFileMax is more than policy reads, so that it can say what is too long.
const rulesFileMax = 2 << 20

// readRuleDir reads the files of a directory and of those below it, in order: of
// the one that is there as it begins, also when another takes its place.
func readRuleDir(dir string, tests bool) (files []policy.File, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !isRules(name) || strings.HasSuffix(name, ruletest.Suffix) != tests {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, rulesFileMax))
		files = append(files, policy.File{Name: filepath.Join(dir, name), Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", dir, err)
	}
	return files, nil
}

// isRules reports whether a name is one of a file of rules; those of Sigma end in
// .yml.
func isRules(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// Load reads and checks rules.
func Load(paths []string) (*policy.Set, error) {
	files, err := Files(paths, false)
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(files)
	return set, Broken(err)
}

// Broken gives rules that cannot be used their exit status and hint.
func Broken(err error) error {
	var errs source.Errors
	if !errors.As(err, &errs) {
		return err
	}
	lines := make([]string, len(errs))
	for i, e := range errs {
		lines[i] = printable.Text(e.Error())
	}
	return exit.Fail(exit.Usage, "docs/guide/rules.md has the language, docs/guide/sigma.md what is read of Sigma", "rules cannot be used:\n%s", strings.Join(lines, "\n"))
}

// shipped returns the rule pack that is in the binary, or with tests its tests,
// in the order of names.
func shipped(tests bool) ([]policy.File, error) {
	var out []policy.File
	err := rules.Each(func(name string, data []byte) error {
		if strings.HasSuffix(name, ruletest.Suffix) == tests {
			out = append(out, policy.File{Name: "shipped:" + name, Data: data})
		}
		return nil
	})
	return out, err
}
