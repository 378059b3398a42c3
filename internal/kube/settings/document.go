package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.yaml.in/yaml/v4"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// fileMax bounds a file of settings; real ones have some kilobytes.
const fileMax = 1 << 20

// readFile reads a file by its absolute path on the machine whose files these are.
func readFile(files fs.FS, name string) ([]byte, error) {
	if files == nil {
		return nil, errors.New("the machine's files are not at hand")
	}
	return rootfs.Read(files, name, fileMax)
}

// document is a file of settings in YAML or JSON.
type document struct {
	source string
	first  int            // line where it begins
	fields map[string]any // numbers are int64 or float64
	body   []byte         // in JSON
	nodes  *yaml.Node     // for lines; nil when there are none
}

// parse reads one document; a key that comes twice is refused.
func parse(source string, first int, data []byte) (*document, error) {
	if len(data) > fileMax {
		return nil, fmt.Errorf("a document of more than %d bytes", fileMax)
	}
	body, err := kyaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("not YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	d := document{source: source, first: max(first, 1), body: body}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, &d.fields); err != nil {
		return nil, err
	}
	if d.fields == nil {
		return nil, errors.New("it says nothing")
	}
	var n yaml.Node
	if yaml.Load(data, &n) == nil && n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		d.nodes = n.Content[0]
	}
	return &d, nil
}

// decode reads the document as a Kubernetes API server does.
func (d *document) decode(into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(d.body, into)
}

// is reports whether the document is of a kind in a group, of any version.
func (d *document) is(group, kind string) bool {
	k, _ := d.fields["kind"].(string)
	v, _ := d.fields["apiVersion"].(string)
	g, _, _ := strings.Cut(v, "/")
	return k == kind && g == group
}

// origin is where the value of a path stands.
func (d *document) origin(path string) inventory.Origin {
	line, n := d.first, d.nodes
	for part := range strings.SplitSeq(path, ".") {
		if n == nil || n.Kind != yaml.MappingNode {
			break
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				line, next = d.first+n.Content[i].Line-1, n.Content[i+1]
			}
		}
		n = next
	}
	return inventory.Origin{Source: d.source, Line: line}
}

// absent and null are two things that a path can be besides a value: a null takes
// back what an earlier document said.
var absent, null = new(int), new(int)

// at returns the value of a path, absent or null. A name that differs from the path's
// only in case is an error: some readers take it, and some do not.
func (d *document) at(path string) (any, error) {
	var v any = d.fields
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: want an object before %s", path, part)
		}
		if v, ok = m[part]; !ok {
			for name := range m {
				if strings.EqualFold(name, part) {
					return nil, fmt.Errorf("%q is written as no reader wants it: %q", name, part)
				}
			}
			return absent, nil
		}
		if v == nil {
			return null, nil
		}
	}
	return v, nil
}

// text writes a value as a setting shows it.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
