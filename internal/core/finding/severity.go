package finding

import (
	"fmt"
	"slices"
)

// Severity says how much a finding matters. The values are in order: a greater
// one matters more.
type Severity uint8

// The severities, from the least to the greatest.
const (
	Info Severity = iota
	Low
	Medium
	High
	Critical
)

var severities = []string{Info: "info", Low: "low", Medium: "medium", High: "high", Critical: "critical"}

// Severities returns all severities, the least first.
func Severities() []Severity { return []Severity{Info, Low, Medium, High, Critical} }

// String returns the severity's name.
func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// ParseSeverity returns the severity of that name.
func ParseSeverity(name string) (Severity, error) {
	i := slices.Index(severities, name)
	if i < 0 {
		return Info, fmt.Errorf("unknown severity %q", name)
	}
	return Severity(i), nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) {
	if int(s) >= len(severities) {
		return nil, fmt.Errorf("no severity: %d", uint8(s))
	}
	return []byte(severities[s]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	v, err := ParseSeverity(string(b))
	if err == nil {
		*s = v
	}
	return err
}
