package nearest

import "testing"

func TestSuggestion(t *testing.T) {
	known := []string{"contains", "endswith", "startswith", "re"}
	for name, want := range map[string]string{
		"contians":  `did you mean "contains"?`,
		"endwith":   `did you mean "endswith"?`,
		"CONTAINS":  `did you mean "contains"?`,
		"something": "known: contains, endswith, startswith, re",
	} {
		if got := Suggestion(name, known); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := Suggestion("x", nil); got != "" {
		t.Errorf("of nothing: %s", got)
	}
}
