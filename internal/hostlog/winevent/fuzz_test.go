package winevent_test

import (
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/hostlog/winevent"
)

func FuzzReader(f *testing.F) {
	f.Add(story.Raw(f, "siloscape-sysmon", "sysmon.xml"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, winevent.New(), data) })
}
