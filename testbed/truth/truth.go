// Package truth scores Sallyport against ground truth on real daemons.
//
// A storm of commands enters containers by every door, by several people at
// once, with the same argv. What really happened is known by a way that
// Sallyport does not read: the command inside carries a secret in its
// environment and tells it, over a unix socket, to the harness, which learns the
// command's host pid and start time from the kernel (SO_PEERCRED, /proc).
// Commands too short for that carry their secret as exit status, API clients
// know their exec id. A Deed is one such fact; Score compares deeds with the
// sessions that Sallyport reports. Innocent clients talk to the daemon all the
// time: they must never be named.
package truth

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Door is a way in, as the harness uses it.
type Door string

// The doors of the storm.
const (
	DockerCLI    Door = "docker exec (CLI)"
	DockerTTY    Door = "docker exec -t"
	DockerDetach Door = "docker exec -d"
	DockerSudo   Door = "docker exec (root, login uid)"
	DockerCurl   Door = "docker exec (curl)"
	DockerSDK    Door = "docker exec (Go SDK)"
	DockerSplit  Door = "docker exec (two people)"
	DockerShort  Door = "docker exec (< 1 ms)"
	DockerDouble Door = "docker exec (double fork)"
	DockerKilled Door = "docker exec (client killed)"
	DockerUnused Door = "docker exec (never started)"
	Health       Door = "health check"
	Run          Door = "docker run (shell)"
	Ctr          Door = "ctr task exec"
	Runc         Door = "runc exec"
	Nsenter      Door = "nsenter"
	NsenterMnt   Door = "nsenter, mount only"
	NsenterInCg  Door = "nsenter in its cgroup"
	Chroot       Door = "chroot /proc/PID/root"
)

// Doors lists all doors in the order of the table.
var Doors = []Door{
	DockerCLI, DockerTTY, DockerDetach, DockerSudo, DockerCurl, DockerSDK, DockerSplit, DockerShort, DockerDouble,
	DockerKilled, DockerUnused,
	Health, Run, Ctr, Runc, Nsenter, NsenterMnt, NsenterInCg, Chroot,
}

// Person is the true actor of a deed.
type Person struct {
	UID uint32 `json:"uid"`
	// Login is the login uid; absent when unset, as for everything that no
	// login started.
	Login *uint32 `json:"login,omitempty"`
	// PIDs are the processes that spoke to the service for this person; empty
	// where no service was asked.
	PIDs []uint32 `json:"pids,omitempty"`
	// User is the name of a person whom Kubernetes knows, by whom the rest is
	// then not asked; Impersonator is who acted as User.
	User         string `json:"user,omitempty"`
	Impersonator string `json:"impersonator,omitempty"`
}

// String is the person in a log line.
func (p Person) String() string {
	if p.Impersonator != "" {
		return p.User + " (in truth " + p.Impersonator + ")"
	}
	if p.User != "" {
		return p.User
	}
	s := fmt.Sprintf("uid %d", p.UID)
	if p.Login != nil {
		s += fmt.Sprintf(" (login %d)", *p.Login)
	}
	return s + fmt.Sprintf(" pids %v", p.PIDs)
}

// Deed is one command that entered a container, as it truly was.
type Deed struct {
	Nonce     string            `json:"nonce"`
	Door      Door              `json:"door"`
	Container event.ContainerID `json:"container,omitempty"`
	// By are the true actors: one, or several who are right equally (the two of
	// DockerSplit; a user and the process that spoke for him). Nobody for what a
	// daemon runs by itself.
	By []Person `json:"by,omitempty"`
	// These are the keys by which its session is found, the first that is there
	// counts: what says most comes first.
	Process  event.ProcessID `json:"process,omitzero"`
	ExecID   event.ExecID    `json:"exec_id,omitempty"`
	AuditID  event.AuditID   `json:"audit_id,omitempty"`
	Path     string          `json:"path,omitempty"` // of a copy; nobody else uses it
	Name     string          `json:"name,omitempty"` // of the container; the deed made it
	User     string          `json:"user,omitempty"` // he does nothing else
	ExitCode int             `json:"exit_code,omitempty"`
	Start    time.Time       `json:"start"`
	End      time.Time       `json:"end"`
}

// Mode is what Sallyport is given to see: for Docker, a value of up's flag
// --client-requests.
type Mode string

// The modes of the Docker storm.
const (
	Always Mode = "always"
	Auto   Mode = "auto"
	Off    Mode = "off"
)
