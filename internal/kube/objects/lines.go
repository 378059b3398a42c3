package objects

import (
	"bytes"

	"go.yaml.in/yaml/v4"
)

// lines finds the lines of the parts of a document. Without a node everything is at
// its first line; the zero value knows of no lines.
type lines struct {
	first int // of the document in its file, from 1
	node  *yaml.Node
	text  []byte // of a document in YAML as it stands in its file; nil of others
}

// hasParts reports whether a document, in JSON, may have parts of whose lines
// something depends: a second parse for these alone doubles the time.
func hasParts(body []byte) bool {
	for _, key := range []string{`"rules"`, `"subjects"`, `"items"`} {
		if bytes.Contains(body, []byte(key)) {
			return true
		}
	}
	return false
}

// linesOf parses a document in YAML or JSON for its lines alone: what it says is
// read by the rules of Kubernetes. One that does not parse has but its first.
func linesOf(data []byte, first int) lines {
	var doc yaml.Node
	if yaml.Load(data, &doc) != nil || doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return lines{first: first}
	}
	return lines{first: first, node: doc.Content[0]}
}

func (l lines) line() int {
	if l.node == nil || l.node.Line == 0 {
		return l.first
	}
	return l.first + l.node.Line - 1
}

// in returns element i of the list that a mapping has under a key.
func (l lines) in(key string, i int) lines {
	list := l.key(key)
	if list == nil || list.Kind != yaml.SequenceNode || i >= len(list.Content) {
		return lines{first: l.line()}
	}
	return lines{first: l.first, node: list.Content[i]}
}

func (l lines) key(key string) *yaml.Node {
	if l.node == nil || l.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(l.node.Content); i += 2 {
		if l.node.Content[i].Value == key {
			return l.node.Content[i+1]
		}
	}
	return nil
}
