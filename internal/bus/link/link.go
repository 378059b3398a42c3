// Package link carries a node's spool to a collector: TLS 1.3 with certificates
// of one authority on both sides, and on it length-prefixed messages of a
// closed set of kinds.
//
// A node is who its certificate says; whatever the observations claim is
// overwritten. Delivery is at least once: the collector acknowledges what its
// store keeps and what has had time to lead to sessions, the node sends again
// what was not acknowledged, and the collector drops by number what it has. An
// observation can be seen twice only when the collector was killed.
//
// A node cannot speak for the cluster: requests to the API server, admissions
// and clocks that it sends are dropped and counted.
//
// The collector measures each node's clock against its own and tells it as
// event.Clock. It ticks for a node as far as the node says that its stream is
// complete. When a node is silent for long, its witnesses count as blind from
// its last word on and time goes on without it, so that what is asked of it is
// not forgotten; when it is back and has caught up, what it saw meanwhile
// counts again.
package link
