//go:build linux

package up

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// Printing is a running `sallyport up --json`, whose output is read.
type Printing struct {
	Cmd    *exec.Cmd
	Stderr bytes.Buffer
	done   chan error

	mu    sync.Mutex
	acked []session.Session // guarded by mu; what it printed
}

// Print starts program as `up --json` on the engine. It is killed at the end of the
// test.
func Print(t testing.TB, program, state string, e *docker.Engine, args ...string) *Printing {
	t.Helper()
	p := &Printing{done: make(chan error, 1)}
	args = append([]string{"up", "--json", "--state", state, "--docker", e.Address, "--listen", "127.0.0.1:0", "--rules", "none"}, args...)
	p.Cmd = exec.Command(program, args...)
	p.Cmd.Stderr = &p.Stderr
	out, err := p.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.read(out)
		p.done <- p.Cmd.Wait()
	}()
	t.Cleanup(func() { p.End(syscall.SIGKILL) })
	return p
}

// read notes what is printed; a line that the kill cut off does not count.
func (p *Printing) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var s session.Session
		if json.Unmarshal(line, &s) == nil {
			p.mu.Lock()
			p.acked = append(p.acked, s)
			p.mu.Unlock()
		}
	}
}

// Sessions returns what was printed, every revision by itself.
func (p *Printing) Sessions() []session.Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.acked)
}

// Echoed returns the words that sessions echo.
func (p *Printing) Echoed() map[string]bool {
	out := map[string]bool{}
	for _, s := range p.Sessions() {
		if len(s.Argv) == 2 && s.Argv[0] == "echo" {
			out[s.Argv[1]] = true
		}
	}
	return out
}

// End sends a signal and waits.
func (p *Printing) End(s syscall.Signal) error {
	_ = p.Cmd.Process.Signal(s)
	err := <-p.done
	p.done <- err
	return err
}

// Ask asks the up that runs on a state directory; 0 when there is none.
func Ask(state, path string) (code int, body string) {
	address, err := os.ReadFile(filepath.Join(state, statedir.Address))
	if err != nil {
		return 0, ""
	}
	answer, err := http.Get("http://" + strings.TrimSpace(string(address)) + path)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	b, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b)
}

// Await waits until /status says that the witnesses see.
func Await(t testing.TB, state string, names ...string) {
	t.Helper()
	testbed.Eventually(t, 30*time.Second, fmt.Sprintf("witnesses %v come up", names), func() bool {
		code, body := Ask(state, "/status")
		var s struct {
			Witnesses []struct {
				Name string
				Up   bool
			}
		}
		if code != http.StatusOK || json.Unmarshal([]byte(body), &s) != nil {
			return false
		}
		up := 0
		for _, w := range s.Witnesses {
			if w.Up && slices.Contains(names, w.Name) {
				up++
			}
		}
		return up == len(names)
	})
}
