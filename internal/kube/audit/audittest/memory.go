package audittest

import (
	"bytes"
	"sync"
)

// Memory is an audit.Keeper that ends with the test. Its zero value is empty; it
// may be used by several goroutines.
type Memory struct {
	mu   sync.Mutex
	data []byte // guarded by mu
}

// Load implements audit.Keeper.
func (m *Memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data, nil
}

// Save implements audit.Keeper.
func (m *Memory) Save(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = bytes.Clone(b)
	return nil
}
