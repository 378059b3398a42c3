package watch

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// HostSource says what machine this is and who its users are.
type HostSource interface {
	// Facts describes the host now, with the users that its files name.
	Facts() event.Host
	// UserName returns the name of a uid, "" when it has none.
	UserName(ctx context.Context, uid uint32) string
}

// LocalHost is the machine that Sallyport runs on.
type LocalHost struct{}

// Facts implements HostSource.
func (*LocalHost) Facts() event.Host {
	name, _ := os.Hostname()
	return event.Host{
		Header:   event.Header{Time: time.Now().UTC(), Witness: event.WitnessEngine},
		Hostname: name,
		BootID:   event.BootID(firstLine("/proc/sys/kernel/random/boot_id")),
		Kernel:   firstLine("/proc/sys/kernel/osrelease"),
		Users:    passwd("/etc/passwd"),
	}
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// Bounds of what is believed of /etc/passwd and getent.
const (
	passwdMax = 1 << 20
	usersMax  = 4096
	nameMax   = 256
	lookupMax = 2 * time.Second
)

func passwd(path string) map[uint32]string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parsePasswd(io.LimitReader(f, passwdMax))
}

// parsePasswd reads passwd(5). Where several names share a uid, the first is
// its name, as for getpwuid(3). Lines that are no entries are passed over.
func parsePasswd(r io.Reader) map[uint32]string {
	users := map[uint32]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(users) < usersMax {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 || fields[0] == "" || len(fields[0]) > nameMax {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, taken := users[uint32(uid)]; !taken {
			users[uint32(uid)] = fields[0]
		}
	}
	return users
}

// UserName implements HostSource. getent(1) is asked because it knows of LDAP
// and SSSD what /etc/passwd does not, and a static program cannot load NSS.
func (*LocalHost) UserName(ctx context.Context, uid uint32) string {
	if name := passwd("/etc/passwd")[uid]; name != "" {
		return name
	}
	ctx, cancel := context.WithTimeout(ctx, lookupMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "getent", "passwd", strconv.FormatUint(uint64(uid), 10))
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return parsePasswd(strings.NewReader(string(out)))[uid]
}

// uidNames finds the names of the uids of possible actors when they are seen
// for the first time, beside the stream of observations.
type uidNames struct {
	host HostSource
	ask  chan uint32

	mu    sync.Mutex
	known map[uint32]bool // guarded by mu; also those without a name
}

func newUIDNames(h HostSource) *uidNames {
	return &uidNames{host: h, ask: make(chan uint32, 64), known: map[uint32]bool{}}
}

// see notes the uids in o that may be an actor's. It does not block: a uid that
// finds the lookup busy is asked for the next time it is seen.
func (u *uidNames) see(o event.Observation) {
	if o.Head().Node != "" {
		return // its users are not ours
	}
	switch o := o.(type) {
	case event.Host:
		u.mu.Lock()
		for uid := range o.Users {
			u.known[uid] = true
		}
		u.mu.Unlock()
	case event.ClientConnect:
		u.peer(o.Peer)
	case event.DockerRequest:
		u.peer(o.Peer)
	case event.RuntimeRequest:
		u.peer(o.Peer)
	case event.SessionEntry:
		u.cred(o.Cred)
		for _, a := range o.Lineage {
			u.cred(a.Cred)
		}
	}
}

func (u *uidNames) peer(p event.Peer) {
	if p.HasCred() {
		u.cred(p.Cred)
	}
}

func (u *uidNames) cred(c event.Cred) {
	u.uid(c.UID)
	if c.LoginUID != nil {
		u.uid(*c.LoginUID)
	}
}

func (u *uidNames) uid(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known[uid] {
		return
	}
	if len(u.known) >= usersMax {
		clear(u.known)
	}
	select {
	case u.ask <- uid:
		u.known[uid] = true
	default:
	}
}

// run answers until ctx ends.
func (u *uidNames) run(ctx context.Context, emit func(event.Observation)) {
	for {
		select {
		case <-ctx.Done():
			return
		case uid := <-u.ask:
			if name := u.host.UserName(ctx, uid); name != "" {
				emit(event.Host{
					Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessEngine},
					Users:  map[uint32]string{uid: name},
				})
			}
		}
	}
}
