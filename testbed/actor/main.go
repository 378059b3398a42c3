//go:build linux

// Command actor is what the tests run inside containers when the shape of the
// process tree matters: busybox runs its applets without an execve, actor does
// exactly what it is told. The arguments are a row of steps, done one after
// another:
//
//	sleep MS        sleep that many milliseconds
//	read FILE       read the file to its end
//	await FILE      wait until the file exists
//	tell SOCKET     connect to the unix socket, send $TRUTH and a newline, wait for one byte back
//	say SOCKET      connect to the unix socket, print the line that comes back, wait for the end
//	print           print own pid, uid and $TRUTH on one line
//	fork STEPS…     do the steps in a child process (an execve of actor), wait, exit with its status
//	double STEPS…   do the steps in a grandchild whose parent exits at once; do not wait
//	exec ARGV…      become ARGV by execve
//	exit N          exit with status N
//
// Without an exit it exits 0. A step that fails exits 111.
package main

import (
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	for args := os.Args[1:]; len(args) > 0; {
		args = step(args[0], args[1:])
	}
}

// step does one step and returns the arguments after it.
func step(op string, args []string) []string {
	switch op {
	case "print":
		os.Stdout.WriteString(strconv.Itoa(os.Getpid()) + " " + strconv.Itoa(os.Getuid()) + " " + os.Getenv("TRUTH") + "\n")
		return args
	case "fork":
		fork(args)
	case "double":
		double(args)
	case "exec":
		check(syscall.Exec(args[0], args, os.Environ()))
	case "exit":
		os.Exit(number(args))
	case "sleep":
		time.Sleep(time.Duration(number(args)) * time.Millisecond)
	case "read":
		_, err := os.ReadFile(first(args))
		check(err)
	case "await":
		await(first(args))
	case "tell":
		tell(first(args))
	case "say":
		say(first(args))
	default:
		die("unknown step " + op)
	}
	return args[1:]
}

func fork(args []string) {
	st := wait(spawn(args, false))
	if st.Signaled() {
		os.Exit(128 + int(st.Signal()))
	}
	os.Exit(st.ExitStatus())
}

// double starts the child in a session of its own, as daemons do; the child
// starts the steps and exits, so that they lose their parent.
func double(args []string) {
	if os.Getenv("ACTOR_MIDDLE") != "" {
		os.Unsetenv("ACTOR_MIDDLE")
		spawn(args, false)
		os.Exit(0)
	}
	os.Setenv("ACTOR_MIDDLE", "1")
	wait(spawn(append([]string{"double"}, args...), true))
	os.Exit(0)
}

func spawn(args []string, setsid bool) int {
	pid, err := syscall.ForkExec("/proc/self/exe", append([]string{os.Args[0]}, args...), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: setsid},
	})
	check(err)
	return pid
}

func wait(pid int) (st syscall.WaitStatus) {
	for {
		_, err := syscall.Wait4(pid, &st, 0, nil)
		if err != syscall.EINTR {
			check(err)
			return st
		}
	}
}

func await(path string) {
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// tell lets whoever listens learn the host pid of this process from the
// kernel (SO_PEERCRED), together with the truth that it carries.
func tell(socket string) {
	c, err := net.Dial("unix", socket)
	check(err)
	_, err = io.WriteString(c, os.Getenv("TRUTH")+"\n")
	check(err)
	c.Read(make([]byte, 1))
	c.Close()
}

// say lets whoever listens learn the host pid of this process, and says on its
// output which of the listener's clients it is. Whoever asked for the command
// reads that.
func say(socket string) {
	c, err := net.Dial("unix", socket)
	check(err)
	_, err = io.Copy(os.Stdout, c)
	check(err)
	c.Close()
}

func first(args []string) string {
	if len(args) == 0 {
		die("missing argument")
	}
	return args[0]
}

func number(args []string) int {
	n, err := strconv.Atoi(first(args))
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		die(err.Error())
	}
}

func die(message string) {
	os.Stderr.WriteString("actor: " + message + "\n")
	os.Exit(111)
}
