// Package rules is the shipped rule pack: R1 to R24 and the five procedures of
// ATT&CK T1609, with the tests of each. docs/guide/rule-pack.md says what each of
// them can tell today; the files' names are their paths in this folder.
package rules

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.yaml procedures/*.yaml
var files embed.FS

// Each calls do for each file of the pack and of its tests (*.test.yaml), in the
// order of names, until it returns an error.
func Each(do func(name string, data []byte) error) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		return do(name, data)
	})
}

//go:embed testdata/recorded.txt
var recorded string

// Recorded returns what the pack finds in the stories of corpus/: by the name of
// a story its rules, each as often as it finds. TestRecorded holds it to that.
func Recorded() map[string][]string {
	out := make(map[string][]string)
	for line := range strings.Lines(recorded) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			slices.Sort(words[1:])
			out[words[0]] = words[1:]
		}
	}
	return out
}
