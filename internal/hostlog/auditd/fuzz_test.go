package auditd_test

import (
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/hostlog/auditd"
)

func FuzzReader(f *testing.F) {
	f.Add(story.Raw(f, "auditd-runc-by-hand", "audit.log"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, auditd.New(), data) })
}
