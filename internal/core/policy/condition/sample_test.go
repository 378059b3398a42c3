package condition

import "github.com/sallyport/sallyport/testbed/sample"

// The sessions that the tests are about.
var (
	at         = sample.At
	exec       = sample.Exec
	nobody     = sample.Nobody
	docker     = sample.Docker
	either     = sample.Either
	unasked    = sample.Unasked
	running    = sample.Running
	processes  = sample.Processes
	anySession = sample.Any
	conditions = sample.Conditions
)
