//go:build !race

package door_test

// underRace says that the race detector looks on.
const underRace = false
