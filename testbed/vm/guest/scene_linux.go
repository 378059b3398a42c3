package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/vm"
)

// scene is what happens on the host. Every program that a test looks for gets a
// mark, an argument that nothing else has.
type scene struct {
	*witness
	server *helper
	conns  []event.ConnID // of the clients
}

// before prepares what the sensor is to find: a service and a container with an
// exec of its own.
func (s *scene) before() (err error) {
	if err := loopbackUp(); err != nil {
		return err
	}
	if s.server, err = startHelper(0, "serve"); err != nil {
		return err
	}
	if err := s.runc(vm.Found); err != nil {
		return err
	}
	return run("runc", "exec", "-d", string(vm.Found), "/bin/sleep", vm.MarkFoundExec)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// play does one thing after another and waits until the last one was seen.
func (s *scene) play() error {
	if err := s.await("the sensor", func(o event.Observation) bool {
		up, ok := o.(event.WitnessState)
		return ok && up.Up
	}); err != nil {
		return err
	}
	s.sensor.Status() // from now on the kernel counts what programs cost
	for _, act := range []func() error{
		func() error { return s.runc(vm.Docker) },
		func() error { return s.runc(vm.CRIO) },
		s.cloned,
		s.execs,
		s.injections,
		s.clients,
		s.tcpClient,
		s.closes,
		s.deaths,
	} {
		if err := act(); err != nil {
			return err
		}
	}
	return s.await("the end of a container", func(o event.Observation) bool {
		exit, ok := o.(event.ProcessExit)
		return ok && exit.ID.PID == s.report.Inits[vm.Docker]
	})
}

// runc starts a container as engines do.
func (s *scene) runc(id event.ContainerID) error {
	bundle, err := writeBundle(id)
	if err != nil {
		return err
	}
	pidFile := bundle + "/pid"
	if err := run("runc", "run", "--detach", "--bundle", bundle, "--pid-file", pidFile, string(id)); err != nil {
		return err
	}
	return s.noteInit(id, pidFile)
}

// cloned starts a container whose processes are born in its cgroup, as newer
// runtimes do, and one more process in it.
func (s *scene) cloned() error {
	bundle, err := writeBundle(vm.Cloned)
	if err != nil {
		return err
	}
	pidFile := bundle + "/pid"
	if err := run("/init", "start", string(vm.Cloned), bundle, pidFile); err != nil {
		return err
	}
	if err := s.noteInit(vm.Cloned, pidFile); err != nil {
		return err
	}
	return run("/init", "join", string(vm.Cloned), s.pid(vm.Cloned), "/bin/echo", vm.MarkClonedExec)
}

func (s *scene) noteInit(id event.ContainerID, pidFile string) error {
	text, err := awaitFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.ParseUint(text, 10, 32)
	s.report.Inits[id] = uint32(pid)
	return err
}

func (s *scene) pid(id event.ContainerID) string { return fmt.Sprint(s.report.Inits[id]) }

// execs enters containers through the runtime. The last one leaves a process
// behind that loses both its parents.
func (s *scene) execs() error {
	for id, mark := range map[event.ContainerID]string{vm.Found: vm.MarkExecInFound, vm.CRIO: vm.MarkExecInCRIO} {
		if err := run("runc", "exec", string(id), "/bin/echo", mark); err != nil {
			return err
		}
	}
	if err := run("runc", "exec", string(vm.Docker), "/bin/actor", "exec", "/bin/upper", "exec", "/bin/echo", vm.MarkUpper); err != nil {
		return err
	}
	if err := run("runc", "exec", string(vm.Docker), "/bin/actor", "double", "exec", "/bin/echo", vm.MarkOrphan); err != nil {
		return err
	}
	return s.await("an orphan", func(o event.Observation) bool {
		e, ok := o.(event.ProcessExec)
		return ok && len(e.Argv.Args) == 2 && e.Argv.Args[1] == vm.MarkOrphan
	})
}

// injections enters a container past the runtime.
func (s *scene) injections() error {
	pid := s.pid(vm.Docker)
	return errors.Join(
		run("nsenter", "-t", pid, "-m", "-u", "-i", "-p", "/bin/actor", "exec", "/bin/echo", vm.MarkNsenter),
		run("nsenter", "-t", pid, "-m", "/bin/actor", "exec", "/bin/echo", vm.MarkNsenterMount),
		run("chroot", "/proc/"+pid+"/root", "/bin/actor", "exec", "/bin/echo", vm.MarkChroot),
	)
}

// clients asks the service: two users at the same time, who stay until they
// are seen, and somebody in a container.
func (s *scene) clients() error {
	for _, uid := range []uint32{0, vm.OtherUID} {
		c, err := startHelper(uid, "ask", vm.ClientMark(uid))
		if err != nil {
			return err
		}
		defer c.stop()
		s.report.Clients[uid] = uint32(c.cmd.Process.Pid)
	}
	for uid, pid := range s.report.Clients {
		var conn event.ConnID
		if err := s.await(fmt.Sprint("the client of user ", uid), func(o event.Observation) bool {
			c, ok := o.(event.ClientConnect)
			conn = c.Conn
			return ok && c.Peer.ID.PID == pid
		}); err != nil {
			return err
		}
		s.conns = append(s.conns, conn)
	}
	return run("runc", "exec", string(vm.Docker), "/bin/actor", "tell", vm.Socket)
}

// tcpClient asks the service by TCP.
func (s *scene) tcpClient() error {
	if err := s.await("the port", func(o event.Observation) bool {
		state, ok := o.(event.WitnessState)
		return ok && len(state.TCPDoors) > 0
	}); err != nil {
		return err
	}
	c, err := startHelper(vm.OtherUID, "ask", vm.MarkTCP, vm.TCPDoor)
	if err != nil {
		return err
	}
	defer c.stop()
	s.report.TCPClient = uint32(c.cmd.Process.Pid)
	return s.await("the client by TCP", func(o event.Observation) bool {
		c, ok := o.(event.ClientConnect)
		if ok && c.Peer.ID.PID == s.report.TCPClient {
			s.conns = append(s.conns, c.Conn)
			return true
		}
		return false
	})
}

// closes waits until the clients' connections are seen to be gone.
func (s *scene) closes() error {
	for _, conn := range s.conns {
		if err := s.await(fmt.Sprint("the end of connection ", conn), func(o event.Observation) bool {
			c, ok := o.(event.ClientClose)
			return ok && c.Conn == conn
		}); err != nil {
			return err
		}
	}
	return nil
}

// deaths kills a process in a container, then a container.
func (s *scene) deaths() error {
	const pidFile = "/run/killed.pid"
	if err := run("runc", "exec", "--detach", "--pid-file", pidFile, string(vm.Docker), "/bin/sleep", "1000"); err != nil {
		return err
	}
	text, err := awaitFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s.report.Killed = uint32(pid)
	// The pid is written down before the program runs.
	if err := s.await("a process to kill", func(o event.Observation) bool {
		exec, ok := o.(event.ProcessExec)
		return ok && exec.ID.PID == s.report.Killed
	}); err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return err
	}
	if err := s.await("the end of a killed process", func(o event.Observation) bool {
		exit, ok := o.(event.ProcessExit)
		return ok && exit.ID.PID == s.report.Killed
	}); err != nil {
		return err
	}
	return unix.Kill(int(s.report.Inits[vm.Docker]), unix.SIGKILL)
}

func (s *scene) end() {
	if s.server != nil {
		s.server.stop()
	}
}

// helper is this program in another role, ready, until its input is closed.
type helper struct {
	cmd  *exec.Cmd
	stay io.Closer
}

// startHelper starts a helper and waits until it says that it is ready.
func startHelper(uid uint32, args ...string) (*helper, error) {
	cmd := exec.Command("/init", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	stay, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(said, make([]byte, len(ready))); err != nil {
		return nil, fmt.Errorf("helper %q: %w", args, errors.Join(err, cmd.Wait()))
	}
	return &helper{cmd, stay}, nil
}

const ready = "ready\n"

func (h *helper) stop() {
	h.stay.Close()
	_ = h.cmd.Wait()
}
