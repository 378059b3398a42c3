package config

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/nearest"
)

// configMax bounds the configuration file.
const configMax = 1 << 20

// read reads a configuration file over c. Errors name file, line and key.
func (c *Config) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, configMax+1))
	if err != nil {
		return err
	}
	if len(data) > configMax {
		return fmt.Errorf("%s: more than %d bytes", file, configMax)
	}
	return c.parse(file, data)
}

func (c *Config) parse(file string, data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return notYAML(file, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil // comments only
	}
	return c.apply(file, "", doc.Content[0], map[string]int{})
}

// yamlPlace finds in which line a YAML error says that it is.
var yamlPlace = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

func notYAML(file string, err error) error {
	if m := yamlPlace.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: not YAML: %s", file, m[1], m[2])
	}
	return fmt.Errorf("%s: %w", file, err)
}

// apply sets what a mapping says. prefix is the key of the mapping itself.
func (c *Config) apply(file, prefix string, m *yaml.Node, seen map[string]int) error {
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s: want keys with values", file, m.Line, strings.TrimSuffix(prefix, "."))
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		key := prefix + k.Value
		if line, twice := seen[key]; twice {
			return fmt.Errorf("%s:%d: %s: already set in line %d", file, k.Line, key, line)
		}
		seen[key] = k.Line
		if isSection(key) {
			if err := c.apply(file, key+".", v, seen); err != nil {
				return err
			}
			continue
		}
		s := findSetting(key)
		if s == nil {
			return &unknownKey{file: file, line: k.Line, key: key}
		}
		if v.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: %s: want one value", file, v.Line, key)
		}
		if err := s.set(c, v.Value); err != nil {
			return fmt.Errorf("%s:%d: %s: %q: %w", file, v.Line, key, v.Value, err)
		}
	}
	return nil
}

func isSection(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
}

func findSetting(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

type unknownKey struct {
	file string
	line int
	key  string
}

// Error implements error.
func (e *unknownKey) Error() string {
	return fmt.Sprintf("%s:%d: %s: unknown key", e.file, e.line, e.key)
}

// Hint names what may have been meant, or lists what is known.
func (e *unknownKey) Hint() string {
	known := Keys()
	for _, k := range Keys() {
		if section, _, ok := strings.Cut(k, "."); ok {
			known = append(known, section)
		}
	}
	if near := nearest.Name(e.key, known); near != "" {
		return near
	}
	return "the keys are " + strings.Join(Keys(), ", ")
}
