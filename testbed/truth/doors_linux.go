package truth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// act does one command by one door, for the person uid where the door lets
// people be told apart, and notes it.
type act func(ctx context.Context, s *scene, uid uint32) error

// acts are the doors, one by one, with how often a round uses them.
var acts = []struct {
	times int // per person
	do    act
}{
	{2, dockerCLI(DockerCLI, nil, tellArgv)},
	{1, dockerCLI(DockerTTY, []string{"-t"}, tellArgv)},
	{1, dockerCLI(DockerDetach, []string{"-d"}, tellArgv)},
	{1, dockerCLI(DockerDouble, nil, []string{"/bin/actor", "double", "tell", "/truth/s"})},
	{1, dockerSudo},
	{1, dockerCurl},
	{1, dockerSplit},
	{1, dockerSDK},
	{2, dockerShort},
	{1, dockerKilled},
	{1, dockerUnused},
	{1, innocent},
	{1, dockerRun},
	{1, ctr},
	{1, runc},
	{1, host(Nsenter, "nsenter", "-t", "PID", "-m", "-p")},
	{1, host(NsenterMnt, "nsenter", "-t", "PID", "-m")},
	{1, host(NsenterInCg, "sh", "-c", `for d in /sys/fs/cgroup/*/docker/$1 /sys/fs/cgroup/docker/$1; do
		[ -d $d ] && echo $$ >$d/cgroup.procs; done; shift; exec "$@"`, "sh", "CONTAINER", "nsenter", "-t", "PID", "-m", "-p")},
	{1, host(Chroot, "chroot", "/proc/PID/root")},
}

// people are system accounts that every Debian and Ubuntu has, so that names
// show: games, news, backup.
var people = []uint32{5, 9, 34}

func dockerCLI(door Door, flags, argv []string) act {
	return func(ctx context.Context, s *scene, uid uint32) error {
		args := append([]string{"exec", "-e", envTruth}, flags...)
		cmd := docker.As(s.engine.CLI(ctx, append(append(args, string(s.web)), argv...)...), uid)
		return s.simple(door, cmd, Person{UID: uid})
	}
}

// dockerSudo is a person who became root: only the login uid still tells.
func dockerSudo(ctx context.Context, s *scene, uid uint32) error {
	cli := s.engine.CLI(ctx, append([]string{"exec", "-e", envTruth, string(s.web)}, tellArgv...)...)
	cmd, by := s.asRoot(ctx, uid, cli)
	return s.simple(DockerSudo, cmd, by)
}

// simple runs a client that is one process and carries the secret in its
// environment.
func (s *scene) simple(door Door, cmd *exec.Cmd, by Person) error {
	d := Deed{Nonce: s.nonce(), Door: door, Container: s.web, Start: time.Now()}
	cmd.Env = append(cmd.Environ(), envTruth+"="+d.Nonce)
	_, err := docker.Output(cmd)
	if cmd.Process != nil {
		by.PIDs = append(by.PIDs, uint32(cmd.Process.Pid))
	}
	d.By, d.End = []Person{by}, time.Now()
	s.note(d)
	return fail(door, err)
}

// asRoot runs cmd as root, logged in as uid where the machine allows it.
func (s *scene) asRoot(ctx context.Context, uid uint32, cmd *exec.Cmd) (*exec.Cmd, Person) {
	if !s.logins {
		return cmd, Person{}
	}
	wrapped := login(ctx, uid, cmd.Args)
	wrapped.Args[4] = cmd.Path
	wrapped.Env = cmd.Env
	return wrapped, Person{Login: &uid}
}

// login returns a command that sets its login uid, as PAM does for a session,
// and becomes argv. It stays one process.
func login(ctx context.Context, uid uint32, argv []string) *exec.Cmd {
	const script = `echo "$0" >/proc/self/loginuid && exec "$@"`
	return exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, strconv.Itoa(int(uid))}, argv...)...)
}

// dockerCurl is two programs, one per request, by one person.
func dockerCurl(ctx context.Context, s *scene, uid uint32) error {
	return s.curlExec(ctx, DockerCurl, uid, uid)
}

// dockerSplit is an exec that one person creates and another starts.
func dockerSplit(ctx context.Context, s *scene, uid uint32) error {
	other := people[0]
	if uid == other {
		other = people[1]
	}
	return s.curlExec(ctx, DockerSplit, uid, other)
}

func (s *scene) curlExec(ctx context.Context, door Door, creator, starter uint32) error {
	d := Deed{Nonce: s.nonce(), Door: door, Container: s.web, Start: time.Now()}
	defer func() {
		d.End = time.Now()
		s.note(d)
	}()
	err := s.curlCreate(ctx, &d, creator)
	if err != nil {
		return fail(door, err)
	}
	_, pid, err := s.curl(ctx, starter, "/exec/"+string(d.ExecID)+"/start", `{"Detach":false,"Tty":false}`)
	if creator == starter {
		d.By[0].PIDs = append(d.By[0].PIDs, pid)
	} else {
		d.By = append(d.By, Person{UID: starter, PIDs: []uint32{pid}})
	}
	return fail(door, err)
}

// curlCreate creates the exec of d.
func (s *scene) curlCreate(ctx context.Context, d *Deed, creator uint32) error {
	body, err := json.Marshal(map[string]any{
		"Cmd": tellArgv, "Env": []string{envTruth + "=" + d.Nonce}, "AttachStdout": true, "AttachStderr": true,
	})
	if err != nil {
		return err
	}
	out, pid, err := s.curl(ctx, creator, "/containers/"+string(s.web)+"/exec", string(body))
	d.By = []Person{{UID: creator, PIDs: []uint32{pid}}}
	if err != nil {
		return err
	}
	var created struct{ ID string }
	if err := json.Unmarshal([]byte(out), &created); err != nil || created.ID == "" {
		return fmt.Errorf("create exec: %s", out)
	}
	d.ExecID = event.ExecID(created.ID)
	return nil
}

// dockerUnused is an exec that is created, the same as all others, and never
// started.
func dockerUnused(ctx context.Context, s *scene, uid uint32) error {
	d := Deed{Nonce: "unused", Door: DockerUnused, Container: s.web, Start: time.Now()}
	err := s.curlCreate(ctx, &d, uid)
	d.End = time.Now()
	s.note(d)
	return fail(DockerUnused, err)
}

// dockerKilled is a client that is killed while its command runs: the command
// goes on.
func dockerKilled(ctx context.Context, s *scene, uid uint32) error {
	d := Deed{Nonce: s.nonce(), Door: DockerKilled, Container: s.web, Start: time.Now()}
	told := s.ear.alarmed(d.Nonce)
	cmd := docker.As(s.engine.CLI(ctx, append([]string{"exec", "-e", envTruth, string(s.web)}, tellArgv...)...), uid)
	cmd.Env = append(cmd.Environ(), envTruth+"="+d.Nonce)
	if err := cmd.Start(); err != nil {
		return fail(DockerKilled, err)
	}
	d.By = []Person{{UID: uid, PIDs: []uint32{uint32(cmd.Process.Pid)}}}
	select {
	case <-told:
	case <-ctx.Done():
	}
	err := cmd.Process.Kill()
	cmd.Wait() // killed, or done already: neither is an error
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	d.End = time.Now()
	s.note(d)
	return fail(DockerKilled, errors.Join(err, ctx.Err()))
}

// innocentUID is www-data, which runs nothing.
const innocentUID = 33

// innocent asks the daemon about the container in which all others run
// commands.
func innocent(ctx context.Context, s *scene, _ uint32) error {
	_, err := docker.Output(docker.As(s.engine.CLI(ctx, "top", string(s.web)), innocentUID))
	return fail("docker top", err)
}

func (s *scene) curl(ctx context.Context, uid uint32, path, body string) (string, uint32, error) {
	cmd := docker.As(exec.CommandContext(ctx, "curl", "-sS", "--fail", "--output", "-", "--unix-socket", s.engine.Socket,
		"-H", "Content-Type: application/json", "--data-binary", "@-", "http://docker/v1.41"+path), uid)
	cmd.Stdin = strings.NewReader(body)
	out, err := docker.Output(cmd)
	if cmd.Process == nil {
		return out, 0, err
	}
	return out, uint32(cmd.Process.Pid), err
}

// dockerSDK is one process with three execs at once over one client.
func dockerSDK(ctx context.Context, s *scene, uid uint32) error {
	nonces := []string{s.nonce(), s.nonce(), s.nonce()}
	start := time.Now()
	cmd := docker.As(exec.CommandContext(ctx, s.client), uid)
	cmd.Env = append(testbed.Environ(), envSDK+"="+s.engine.Address+" "+string(s.web))
	cmd.Stdin = strings.NewReader(strings.Join(nonces, "\n") + "\n")
	out, err := docker.Output(cmd)
	if cmd.Process == nil {
		return fail(DockerSDK, err)
	}
	by := []Person{{UID: uid, PIDs: []uint32{uint32(cmd.Process.Pid)}}}
	for line := range strings.Lines(out) {
		nonce, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.note(Deed{
			Nonce: nonce, Door: DockerSDK, Container: s.web, By: by, ExecID: event.ExecID(id), Start: start, End: time.Now(),
		})
	}
	return fail(DockerSDK, err)
}

// dockerShort is a command that is gone before anybody could ask about it: its
// secret is its exit status, which comes from the environment, so that the argv
// is always the same.
func dockerShort(ctx context.Context, s *scene, uid uint32) error {
	code := s.exitCode()
	if code == 0 {
		return nil
	}
	d := Deed{Nonce: fmt.Sprintf("exit %d", code), Door: DockerShort, Container: s.short, ExitCode: code, Start: time.Now()}
	cmd := docker.As(s.engine.CLI(ctx, "exec", "-e", "CODE", string(s.short), "/bin/sh", "-c", "exit $CODE"), uid)
	cmd.Env = append(cmd.Environ(), "CODE="+strconv.Itoa(code))
	_, err := docker.Output(cmd)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == code {
		err = nil
	}
	d.End = time.Now()
	if cmd.Process != nil {
		d.By = []Person{{UID: uid, PIDs: []uint32{uint32(cmd.Process.Pid)}}}
	}
	s.note(d)
	return fail(DockerShort, err)
}

// dockerRun is a container whose entrypoint is a shell; the secret is told by
// the shell's child.
func dockerRun(ctx context.Context, s *scene, uid uint32) error {
	d := Deed{Nonce: s.nonce(), Door: Run, Start: time.Now()}
	dir, err := os.MkdirTemp(s.dir, "run-")
	if err != nil {
		return fail(Run, err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // the client writes the id as uid
		return fail(Run, err)
	}
	cidfile := filepath.Join(dir, "cid")
	cmd := docker.As(s.engine.CLI(ctx, "run", "--rm", "-e", envTruth, "-v", s.dir+":/truth", "--cidfile", cidfile,
		"--entrypoint", "/bin/sh", docker.Image, "-c", ":; /bin/actor tell /truth/s; :"), uid)
	cmd.Env = append(cmd.Environ(), envTruth+"="+d.Nonce)
	_, err = docker.Output(cmd)
	if cid, readErr := os.ReadFile(cidfile); readErr == nil {
		d.Container = event.ContainerID(strings.TrimSpace(string(cid)))
		s.watch(d.Container)
	}
	if cmd.Process != nil {
		d.By = []Person{{UID: uid, PIDs: []uint32{uint32(cmd.Process.Pid)}}}
	}
	d.End = time.Now()
	s.note(d)
	return fail(Run, err)
}

// ctr goes to containerd beside Docker. It cannot pass an environment, so the
// command sets its own secret; the argv of the session differs each time.
func ctr(ctx context.Context, s *scene, uid uint32) error {
	d := Deed{Nonce: s.nonce(), Door: Ctr, Container: s.web, Start: time.Now()}
	d.ExecID = event.ExecID("ctr-" + d.Nonce)
	argv := append([]string{"/bin/busybox", "env", envTruth + "=" + d.Nonce}, tellArgv...)
	cmd, by := s.asRoot(ctx, uid, s.engine.Ctr(ctx, append([]string{"task", "exec", "--exec-id", string(d.ExecID), string(s.web)}, argv...)...))
	_, err := docker.Output(cmd)
	d.By, d.End = []Person{by}, time.Now()
	s.note(d)
	return fail(Ctr, err)
}

// runc goes beside Docker and containerd.
func runc(ctx context.Context, s *scene, uid uint32) error {
	d := Deed{Nonce: s.nonce(), Door: Runc, Container: s.web, Start: time.Now()}
	args := append([]string{"exec", "-e", envTruth + "=" + d.Nonce, string(s.web)}, tellArgv...)
	cmd, by := s.asRoot(ctx, uid, s.engine.Runc(ctx, args...))
	_, err := docker.Output(cmd)
	d.By, d.End = []Person{by}, time.Now()
	s.note(d)
	return fail(Runc, err)
}

// host goes beside every service. PID and CONTAINER in argv stand for those of
// the container.
func host(door Door, argv ...string) act {
	return func(ctx context.Context, s *scene, uid uint32) error {
		d := Deed{Nonce: s.nonce(), Door: door, Container: s.web, Start: time.Now()}
		fill := strings.NewReplacer("PID", strconv.Itoa(s.webPID), "CONTAINER", string(s.web))
		var args []string
		for _, a := range append(argv, tellArgv...) {
			args = append(args, fill.Replace(a))
		}
		path, err := testbed.LookPath(args[0])
		if err != nil {
			return fail(door, err)
		}
		plain := exec.CommandContext(ctx, path, args[1:]...)
		plain.Env = append(testbed.Environ(), envTruth+"="+d.Nonce)
		cmd, by := s.asRoot(ctx, uid, plain)
		_, err = docker.Output(cmd)
		d.By, d.End = []Person{by}, time.Now()
		s.note(d)
		return fail(door, err)
	}
}
