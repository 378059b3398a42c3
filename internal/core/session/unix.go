package session

import "github.com/sallyport/sallyport/internal/core/event"

// UnixActor returns who is at the other end of a unix socket: of kind ActorNone where
// that is not known. name names a user, "" where he has no name.
func UnixActor(peer *event.Peer, name func(uid uint32) string) Actor {
	if !peer.HasCred() || peer.Cred.NoUID || peer.ID.PID == 0 {
		return Actor{Kind: ActorNone}
	}
	uid := peer.Cred.UID
	a := Actor{
		Kind: ActorUnix, UID: &uid, User: name(uid), LoginUID: peer.Cred.LoginUID, PID: peer.ID.PID, Process: peer.ID,
		Exe: string(peer.Exe), Argv: peer.Argv.Args, Container: peer.Container,
	}
	if l := a.LoginUID; l != nil {
		if login := name(*l); login != a.User {
			a.LoginUser = login
		}
	}
	return a
}
