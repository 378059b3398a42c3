//go:build !linux

package settings

import (
	"errors"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Read says that it reads nothing here.
func Read(int, *inventory.Docker) ([]inventory.Skipped, []error) {
	return nil, []error{errors.New("settings of a daemon are read on Linux only")}
}
