package policy

import (
	"os"
	"regexp"
	"testing"
)

// The examples of the guide are rules.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../../docs/guide/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	set := load(t, string(blocks[0][1])+string(blocks[1][1])+string(blocks[2][1]))
	if n := len(set.Rules()); n != 5 {
		t.Errorf("%d rules", n)
	}
}
