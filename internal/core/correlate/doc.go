// Package correlate joins observations into sessions: what the service doors
// and the process door saw of the same command.
//
// Engine is a pure state machine: no clock, no I/O, no goroutines; time comes
// with the observations. It keeps facts, indexed by the ids they carry, and
// derives each session anew from the facts that concern it, so the order in
// which facts arrive inside the window does not matter. Nothing is joined on a
// guess: where an id is missing, everybody who fits is a candidate and all
// candidates are listed (design §2, attribution).
//
// Join keys, strongest first: the exec id that a client's own request names
// and that the runtime reports with the host pid; the kernel's label on the
// process tree; the connections that were open when the command started.
//
// # How an observation becomes a revision
//
// Whatever can turn out to be a session is a subject (subject.go): an exec, a run
// of a container, a process tree that came in, an attach, a request.
//
//  1. apply puts the observation into the part that keeps such facts, and touches
//     the subjects that it may concern (apply*.go by door, touch.go).
//  2. The agenda has a touched subject looked at after a moment, with what came in
//     its wake, and again when absence has become evidence (agenda.go).
//  3. A subject whose time has come derives its session (exec: execsession.go, and
//     so on): what ran, who asked (attribute*.go), what is missing, and why all
//     that is said (evidence.go).
//  4. What differs from what was published of it before is a revision; what has
//     long been over is forgotten (publish.go, past.go).
//
// Read correlate.go, subject.go and those, with Docker's exec as the example. Then
// the parts, in the order in which Engine lists them and of which each can be read
// alone: coverage.go and watched.go; inside.go with containers.go, exec.go, run.go
// and entry.go; doors.go with connection.go, request.go and asks.go; stream.go. At
// last Kubernetes, which knows no exec ids: kube.go with call.go, audit.go and
// pods.go; arrival.go, cri.go and choice.go weigh all that could be mistaken for
// each other at once. Fleet holds an engine for each node of a cluster.
package correlate
