package session

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Recording is a statement about the file in which a session's streams are
// recorded, as the ledger keeps it: up to Size the file hashes to Hash
// (docs/reference/recording-format.md). A later statement about the same
// recording is over at least as much of it.
type Recording struct {
	ID    string         `json:"id"`
	State RecordingState `json:"state"`
	// Time is when this was stated, Started when the recording began.
	Time    time.Time `json:"time"`
	Started time.Time `json:"started"`
	// Session, Container and Exec say what was recorded, as far as known.
	Session   ID                `json:"session,omitempty"`
	Container event.ContainerID `json:"container,omitempty"`
	Exec      event.ExecID      `json:"exec,omitempty"`
	// Size is how many bytes of the file Hash is over: whole blocks.
	Size int64  `json:"size"`
	Hash string `json:"hash"` // SHA-256 chain, hexadecimal
	// Tail is how many bytes follow that are no whole block: a write that was cut
	// off. Only of RecordingTorn.
	Tail int64 `json:"tail,omitempty"`
	// Lost counts bytes that are not in the file because recording failed meanwhile.
	// What is lenient passed them on.
	Lost uint64 `json:"lost,omitempty"`
}

// RecordingState is how far a recording has come.
type RecordingState string

// The states of a recording.
const (
	RecordingBegun   RecordingState = "begun"   // nothing passed yet
	RecordingRunning RecordingState = "running" // more may follow
	RecordingEnded   RecordingState = "ended"   // its end is in it
	RecordingTorn    RecordingState = "torn"    // its writer was killed; sealed as it was found later
)

// Final reports whether nothing follows any more.
func (s RecordingState) Final() bool { return s == RecordingEnded || s == RecordingTorn }

// Known reports whether s is one of the states.
func (s RecordingState) Known() bool {
	return s == RecordingBegun || s == RecordingRunning || s.Final()
}
