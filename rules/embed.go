// Package rules is the shipped rule pack: R1 to R24 and the five procedures of
// ATT&CK T1609, with the tests of each. docs/guide/rule-pack.md says what each of
// them can tell today; the files' names are their paths in this folder.
package rules

import "embed"

// Files has the pack and its tests (*.test.yaml).
//
//go:embed *.yaml procedures/*.yaml
var Files embed.FS
