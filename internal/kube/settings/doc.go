// Package settings tells what the programs of a Kubernetes cluster really do: the
// effective configuration of a kubelet and of an API server, of their flags and the
// files that these name, or of what they say of themselves; what an audit policy would
// record of commands; and from where an API server can be reached.
//
// It reads and decides nothing that it cannot know: a file that is not at hand, or that
// no such program would take, leaves what it decides unknown.
//
// The rules and defaults are those of Kubernetes 1.37, whatever the version of the
// program.
package settings
