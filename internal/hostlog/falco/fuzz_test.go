package falco_test

import (
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/hostlog/falco"
)

func FuzzReader(f *testing.F) {
	f.Add(story.Raw(f, "falco-eks", "falco.json"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, falco.New(), data) })
}
