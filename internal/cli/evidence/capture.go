package evidence

import (
	"context"
	"errors"
	"iter"
	"os"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/store/capture"
)

// Captures reads the observations of files, one after the other, up to the first
// error.
func Captures(ctx context.Context, files []string) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		for _, file := range files {
			for o, err := range readCapture(file) {
				if err == nil {
					err = ctx.Err()
				}
				if !yield(o, err) || err != nil {
					return
				}
			}
		}
	}
}

func readCapture(file string) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		r, err := capture.Open(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			err = exit.Fail(exit.Usage, "", "%w", err)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		r.All()(yield)
	}
}
