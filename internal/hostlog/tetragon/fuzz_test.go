package tetragon_test

import (
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/hostlog/tetragon"
)

func FuzzReader(f *testing.F) {
	f.Add(story.Raw(f, "tetragon-alone", "tetragon.log"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, tetragon.New(), data) })
}
