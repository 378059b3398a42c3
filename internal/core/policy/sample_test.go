package policy

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/sample"
)

// The sessions that the tests are about.
var (
	at         = sample.At
	exec       = sample.Exec
	nobody     = sample.Nobody
	docker     = sample.Docker
	either     = sample.Either
	running    = sample.Running
	processes  = sample.Processes
	unasked    = sample.Unasked
	tree       = sample.Tree
	ran        = sample.Ran
	anySession = sample.Any
	conditions = sample.Conditions
)

func corpus(t testing.TB) []session.Session { return sample.Corpus(t, "../../../corpus") }
