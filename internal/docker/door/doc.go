// Package door is the Docker API's door: a proxy in front of the daemon's socket
// that reads each request as the daemon would, says who asks and for what, asks
// a [Judge], and forwards exactly what was judged.
//
// What it cannot read in one way only is refused: a path that the daemon's
// router would clean or decode further, a JSON body with a key twice (also in
// another case), with a key that the daemon's types do not have, or with
// anything behind its end, a form where no client sends one. A body that was read
// is forwarded in a form that has one reading (docs/decisions/0014-guard-docker.md).
//
// Containers are named to the daemon by the full id that they had when the
// request was judged, so that a name that moves on in between leads nowhere.
package door
