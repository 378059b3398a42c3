// Package docker hears what happens at the Docker service door.
//
// It has two halves. [Witness] follows the daemon's event stream and asks it
// for what the stream leaves out. [Requests] reads the requests of clients out
// of pieces of their connections that a kernel sensor sampled. Neither changes
// anything at the daemon; both parse foreign input at this edge, with bounds,
// into observations.
//
// What Docker says proves less than it seems to. Events carry no identity and
// no exact argument list, container labels overwrite their attributes, and a
// start that fails has no end. Requests name their client, but only as far as
// every byte of the connection is accounted for; where it is not, the request
// says so (event.DockerRequest.Certain).
package docker
