//go:build !(linux && (amd64 || arm64))

package kernel

import (
	"context"

	"github.com/sallyport/sallyport/internal/core/event"
)

// On always fails.
func (*Gate) On(GateConfig) (GateStatus, error) {
	return GateStatus{}, &GateUnavailableError{Tried: []GateAttempt{{GateAtSocket, errNotLinux}}}
}

// Off always fails.
func (*Gate) Off() error { return ErrGateOff }

// Status always fails.
func (*Gate) Status() (GateStatus, error) { return GateStatus{}, ErrGateOff }

// Follow always fails.
func (*Gate) Follow(context.Context, func(event.GateSighting) error) error { return ErrGateOff }

// Listening always fails.
func Listening([]string) (map[string]uint32, error) {
	return nil, &GateUnavailableError{Tried: []GateAttempt{{gateListing, errNotLinux}}}
}
