package daemonlog_test

import (
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/docker/daemonlog"
)

func FuzzReader(f *testing.F) {
	f.Add(story.Raw(f, "docker-log", "dockerd.log"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, daemonlog.New(), data) })
}
