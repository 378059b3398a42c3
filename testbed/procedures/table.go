package procedures

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Table says which rules find something in a recording, by its name and by what
// of it they are given.
type Table map[string]map[Source][]string

// ReadTable reads a table: a recording, a source and rules, a line each; # begins
// a comment.
func ReadTable(file string) (Table, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t, n := make(Table), 0
	for line := range strings.Lines(string(data)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case len(words) < 2 || !slices.Contains(Sources, Source(words[1])):
			return nil, fmt.Errorf("%s:%d: want a recording, command, process or both, and rules", file, n)
		}
		if t[words[0]] == nil {
			t[words[0]] = make(map[Source][]string)
		}
		slices.Sort(words[2:])
		t[words[0]][Source(words[1])] = words[2:]
	}
	return t, nil
}

// Row is a line of a table.
func Row(recording string, s Source, rules []string) string {
	return strings.TrimSpace(fmt.Sprintf("%-18s %-8s %s", recording, s, strings.Join(rules, " ")))
}
