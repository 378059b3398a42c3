//go:build linux && (amd64 || arm64)

package kernel

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/cputime"
	"github.com/sallyport/sallyport/testbed/docker"
)

// reportPrograms reports what each BPF program cost per run since before.
func reportPrograms(b *testing.B, before, after Status) {
	b.Helper()
	for i, p := range after.Programs {
		runs := p.Runs - before.Programs[i].Runs
		if runs > 0 {
			b.ReportMetric(float64(p.Time-before.Programs[i].Time)/float64(runs), "bpf-ns/"+p.Name)
		}
	}
}

// storm starts b.N processes from a shell in a container.
func storm(b *testing.B, e *docker.Engine, id string) {
	b.Helper()
	cmd := e.CLI(b.Context(), "exec", id, "/bin/busybox", "sh", "-c",
		"i=0; while [ $i -lt "+strconv.Itoa(b.N)+" ]; do /bin/busybox true one two three; i=$((i+1)); done")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}

func BenchmarkProcessInContainer(b *testing.B) {
	e := docker.Shared(b)
	id := e.RunT(b, docker.Image, "/bin/sleep", "1000")
	b.Run("without", func(b *testing.B) { storm(b, e, id) })
	b.Run("watched", func(b *testing.B) {
		w := watch(b, Options{})
		before, cpu := w.sensor.Status(), cputime.Total()
		b.ResetTimer()
		storm(b, e, id)
		b.StopTimer()
		b.ReportMetric(float64((cputime.Total()-cpu).Microseconds())/float64(b.N), "cpu-us/process")
		reportPrograms(b, before, w.sensor.Status())
	})
}

func BenchmarkProcessOnHost(b *testing.B) {
	run := func(b *testing.B) {
		script := "i=0; while [ $i -lt " + strconv.Itoa(b.N) + " ]; do /bin/true; i=$((i+1)); done"
		if out, err := exec.CommandContext(b.Context(), "/bin/sh", "-c", script).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	b.Run("without", run)
	b.Run("watched", func(b *testing.B) {
		w := watch(b, Options{Requests: ModeAuto, Sockets: []Socket{{event.ServiceDocker, "/run/docker.sock"}},
			OnSegment: func(event.Segment) []event.Observation { return nil }})
		before := w.sensor.Status()
		b.ResetTimer()
		run(b)
		b.StopTimer()
		reportPrograms(b, before, w.sensor.Status())
	})
}

// BenchmarkConnect makes connections to a port that is nobody's business while
// another one is watched: what its program costs at each change of state of each
// TCP socket of the host.
func BenchmarkConnect(b *testing.B) {
	connects := func(b *testing.B) {
		for b.Loop() {
			c, s := pair(b, "tcp", "127.0.0.1:0")
			c.Close()
			s.Close()
		}
	}
	b.Run("without", connects)
	b.Run("watched", func(b *testing.B) {
		w, _ := watchPorts(b, ModeOff, tcpService(b, "127.0.0.1:0"))
		before := w.sensor.Status()
		connects(b)
		reportPrograms(b, before, w.sensor.Status())
	})
}

// BenchmarkPingPong sends a byte back and forth over sockets that are nobody's
// business: what the attached tap costs the rest of the host.
func BenchmarkPingPong(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(b.TempDir(), "s")
		}
		b.Run(network+"/without", func(b *testing.B) { pingPong(b, network, address) })
		tapped := func(b *testing.B, w *watcher) {
			pingPong(b, network, address)
			before := w.sensor.Status() // statistics would be in the measurement
			b.StopTimer()
			for range 1000 {
				pingPongOnce(b, network, address)
			}
			reportPrograms(b, before, w.sensor.Status())
		}
		b.Run(network+"/tapped", func(b *testing.B) {
			w, _ := watchDoor(b, ModeAlways, filepath.Join(b.TempDir(), "door"))
			tapped(b, w)
		})
		b.Run(network+"/tapped with a port", func(b *testing.B) {
			w, _ := watchPorts(b, ModeAlways, tcpService(b, "127.0.0.1:0"))
			tapped(b, w)
		})
	}
}

func pingPongOnce(b *testing.B, network, address string) {
	b.Helper()
	c, s := pair(b, network, address)
	defer c.Close()
	defer s.Close()
	buf := make([]byte, 1)
	for range 10 {
		bounce(b, c, s, buf)
	}
}

func pingPong(b *testing.B, network, address string) {
	b.Helper()
	c, s := pair(b, network, address)
	defer c.Close()
	defer s.Close()
	buf := make([]byte, 1)
	b.ResetTimer()
	for b.Loop() {
		bounce(b, c, s, buf)
	}
}

// bounce is two sends and two receives.
func bounce(b *testing.B, c, s net.Conn, buf []byte) {
	for _, step := range []func([]byte) (int, error){c.Write, s.Read, s.Write, c.Read} {
		if _, err := step(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func pair(b *testing.B, network, address string) (client, server net.Conn) {
	b.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	return client, server
}
