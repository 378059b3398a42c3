package doctor

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/watch"
)

// check is one question to the host.
type check struct {
	name string
	run  func(context.Context) []diagnosis
}

// exam is what the checks ask; every field is a fake in tests.
type exam struct {
	conf    config.Config // as up would have it
	goos    string
	uid     int
	address string // of the Docker daemon
	now     func() time.Time
	built   time.Time // the build's time; zero when unknown
	read    func(path string) (string, error)

	features   func() kernel.Features
	docker     func(ctx context.Context, address string) (dockerFacts, error)
	listeners  func(socket string) (pid uint32, tcp []string, err error)
	find       func() (address string, err error) // of containerd
	containerd func(ctx context.Context, address string) (version string, err error)
	crio       func(ctx context.Context) (found string, err error) // nil: it is not on this host
	audit      func(path string) (audit.Facts, error)
	dir        func(path string) (dirFacts, error)
	synced     func() (bool, error)
	kube       func(ctx context.Context, path string) (code int, body []byte, err error) // asks the API server; nil: none is configured
	status     func() (*watch.Status, error)                                             // of the up that runs here; nil: none does
}

// dockerFacts is what the Docker daemon says of itself.
type dockerFacts struct {
	Address    string // the one that answered
	Version    string
	APIVersion string
	Security   []string // as in docker info: "name=rootless", "name=userns", …
	Authz      []string // authorization plugins
}

// dirFacts is what there is to know of the state directory.
type dirFacts struct {
	Exists   bool
	Writable bool   // it, or the nearest directory above it that exists
	Free     uint64 // bytes
	Mode     uint32 // permission bits
	Holder   int    // pid of the `up` that runs on it, 0 when none does
}

func (x *exam) checks() []check {
	return []check{
		{"system", x.checkSystem},
		{"privileges", x.checkPrivileges},
		{"kernel sensor", x.checkKernel},
		{"cgroups", x.checkCgroups},
		{"docker", x.checkDocker},
		{"containerd", x.checkContainerd},
		{"CRI-O", x.checkCRIO},
		{"kubernetes audit", x.checkAudit},
		{"audit canary", x.checkCanary},
		{"API server", x.checkKube},
		{"pods", x.checkPods},
		{"admission", x.checkAdmission},
		{"node", x.checkNode},
		{"collector", x.checkCollector},
		{"state directory", x.checkState},
		{"clock", x.checkClock},
		{"login uid", x.checkLogin},
	}
}

func one(d diagnosis) []diagnosis { return []diagnosis{d} }

func (x *exam) checkSystem(context.Context) []diagnosis {
	d := diagnosis{Check: "system", Grade: gradeOK, Found: x.goos + " " + runtime.GOARCH}
	if x.goos != "linux" {
		d.Grade = gradeMissing
		d.Effect = "no kernel sensor and no Docker on this system: replay works, watching does not"
		d.Remedy = []string{"run Sallyport on the Linux host that runs the containers"}
		return one(d)
	}
	if release, err := x.read("/proc/sys/kernel/osrelease"); err == nil {
		d.Found = "Linux " + strings.TrimSpace(release) + " " + runtime.GOARCH
	}
	return one(d)
}

func (x *exam) checkPrivileges(context.Context) []diagnosis {
	if x.uid == 0 {
		return one(diagnosis{Check: "privileges", Grade: gradeOK, Found: "root"})
	}
	if x.features().Level() != kernel.LevelServices {
		return one(diagnosis{Check: "privileges", Grade: gradeOK, Found: fmt.Sprintf("uid %d with the capabilities that the kernel sensor needs", x.uid)})
	}
	return one(diagnosis{
		Check: "privileges", Grade: gradeDegraded, Found: fmt.Sprintf("uid %d, not root", x.uid),
		Effect: "no kernel sensor, and containerd's socket is closed: what ran and who asked stay unknown",
		Remedy: []string{"sudo sallyport doctor"},
	})
}

// checkKernel reports the sensor's level, each feature that is missing, and
// what is seen of clients.
func (x *exam) checkKernel(context.Context) []diagnosis {
	all := x.features()
	features, level := all, all.Level()
	d := diagnosis{Check: "kernel sensor", Grade: gradeOK, Found: "level " + string(level)}
	if level == kernel.LevelServices {
		d.Grade, d.Effect = gradeMissing, "no process is seen: service events are all there is (level L0)"
	} else {
		d.gives = []attack.Need{attack.NeedKernel}
		d.Found += ": entries, processes, exits, by BTF tracepoints; no syscall tracepoint, no tracefs needed"
	}
	out := one(d)
	if f := features.Get(kernel.FeatureCapabilities); !f.Available() && len(features) > 0 {
		features = kernel.Features{f} // without permission all the others fail too
	}
	for _, f := range features {
		if _, told := unseen[f.Name]; !told && !f.Available() {
			out = append(out, missingFeature(f))
		}
	}
	return append(out, x.clients(all, level)...)
}

// missingFeature reports a feature that is not there. Level L3 is a matter of
// enforcement: without it nothing is missed.
func missingFeature(f kernel.Feature) diagnosis {
	d := diagnosis{Check: "kernel: " + f.Name, Grade: gradeNote, Found: f.Err.Error(), Effect: "would give " + f.What}
	if f.Needed {
		d.Grade, d.Effect = gradeMissing, "the sensor needs it for "+f.What
	}
	if f.Hint != "" {
		d.Remedy = []string{f.Hint}
	}
	return d
}

// unseen says what it means that a feature about clients is missing.
var unseen = map[string]string{
	kernel.FeatureConnectUnix: "who is connected to a service is not known: nobody can be listed as a candidate",
	kernel.FeatureTCPState:    "who is connected to a service by TCP is not known: such a door is a candidate by itself",
	kernel.FeatureSockLength:  "who asked for what is not known: a session's actor is at best one of a set of candidates",
}

// clients reports what is seen of those who ask.
func (x *exam) clients(features kernel.Features, level kernel.Level) []diagnosis {
	peers := diagnosis{Check: "client peers", Grade: gradeOK, Found: "every connect to a service socket, before it succeeds, by cgroup/connect_unix; no cost to other calls", gives: []attack.Need{attack.NeedPeers}}
	requests := diagnosis{
		Check: "client requests", Grade: gradeOK, gives: []attack.Need{attack.NeedRequests},
		Found: "readable, by the tracepoints sock_send_length and sock_recv_length",
		Effect: "they tax every socket send and receive of the host while attached: with --client-requests auto " +
			"only while a client is connected, with always all the time, with off never",
	}
	tcp := diagnosis{Check: "client peers by TCP", Grade: gradeOK, Found: "every connection to a service's port, by the tracepoint inet_sock_set_state, attached while there is such a port"}
	for d, name := range map[*diagnosis]string{&peers: kernel.FeatureConnectUnix, &tcp: kernel.FeatureTCPState, &requests: kernel.FeatureSockLength} {
		f := features.Get(name) // they do not depend on each other: any order will do
		if level != kernel.LevelServices && f.Available() {
			continue
		}
		d.Grade, d.gives, d.Effect = gradeDegraded, nil, unseen[name]
		d.Found = "not seen: the kernel sensor does not run"
		if level != kernel.LevelServices {
			d.Found, d.Remedy = "not seen: "+f.Err.Error(), []string{f.Hint}
		}
	}
	return []diagnosis{peers, tcp, requests}
}

func (x *exam) checkCgroups(context.Context) []diagnosis {
	if x.goos != "linux" {
		return nil
	}
	mounts, err := x.read("/proc/self/mountinfo")
	if err != nil {
		return one(diagnosis{Check: "cgroups", Grade: gradeNote, Found: err.Error()})
	}
	v1, v2 := strings.Contains(mounts, " - cgroup "), strings.Contains(mounts, " - cgroup2 ")
	d := diagnosis{Check: "cgroups", Grade: gradeOK}
	switch {
	case v1 && v2:
		d.Found = "version 1, with a version 2 hierarchy beside it"
	case v2:
		d.Found = "version 2"
	case v1:
		d.Grade, d.Found = gradeDegraded, "version 1 only"
		d.Effect = "cgroup/connect_unix has no hierarchy to attach to: clients are not seen"
		d.Remedy = []string{"mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"}
	default:
		d.Grade, d.Found = gradeDegraded, "no cgroup file system is mounted"
		d.Effect = "clients are not seen, and containers are told apart by namespaces alone"
		d.Remedy = []string{"mount -t cgroup2 none /sys/fs/cgroup"}
	}
	return one(d)
}

func (x *exam) checkDocker(ctx context.Context) []diagnosis {
	facts, err := x.docker(ctx, x.address)
	if err != nil {
		return one(diagnosis{
			Check: "docker", Grade: gradeMissing, Found: err.Error(),
			Effect: "no Docker events: container names, execs and health checks are not known",
			Remedy: dockerRemedy(err, x.uid),
		})
	}
	out := one(diagnosis{
		Check: "docker", Grade: gradeOK, gives: []attack.Need{attack.NeedDocker},
		Found: fmt.Sprintf("version %s, API %s, at %s", facts.Version, facts.APIVersion, facts.Address),
	})
	out = append(out, x.doors(facts)...)
	return append(out, dockerNotes(facts)...)
}

func dockerRemedy(err error, uid int) []string {
	switch text := err.Error(); {
	case uid != 0 && strings.Contains(text, "permission denied"):
		return []string{"sudo sallyport doctor"}
	case strings.Contains(text, "no such file") || strings.Contains(text, "connection refused"):
		return []string{"sudo systemctl start docker", "or name the daemon: sallyport doctor --docker unix:///path/to/docker.sock"}
	}
	return []string{"name the daemon: sallyport doctor --docker unix:///path/to/docker.sock"}
}

// doors reports ways into the daemon that the kernel sensor does not watch.
func (x *exam) doors(facts dockerFacts) []diagnosis {
	socket, ok := strings.CutPrefix(facts.Address, "unix://")
	if !ok {
		return one(diagnosis{
			Check: "docker doors", Grade: gradeDegraded, Found: "the daemon is reached at " + facts.Address,
			Effect: "clients of a remote daemon are not seen",
			Remedy: []string{"run Sallyport on the daemon's own host"},
		})
	}
	pid, tcp, err := x.listeners(socket)
	if err != nil {
		return one(diagnosis{
			Check: "docker doors", Grade: gradeNote, Found: "cannot tell where else the daemon listens: " + err.Error(),
			Effect: "a TCP listener would go unnoticed",
			Remedy: []string{"sudo ss -ltnp | grep dockerd"},
		})
	}
	if len(tcp) > 0 {
		effect := "who comes in there is not seen: such sessions list the door as a candidate, and nobody is named by exclusion"
		if features := x.features(); features.Level() != kernel.LevelServices && features.Get(kernel.FeatureTCPState).Available() {
			effect = "who comes in there from another host is known by address only, and what is asked through TLS is not read"
		}
		return one(diagnosis{
			Check: "docker doors", Grade: gradeDegraded, Effect: effect,
			Found:  fmt.Sprintf("dockerd (pid %d) also listens on %s", pid, strings.Join(tcp, ", ")),
			Remedy: []string{`remove the tcp entry from "hosts" in /etc/docker/daemon.json and the -H tcp:// flag of docker.service, then: sudo systemctl restart docker`},
		})
	}
	return one(diagnosis{Check: "docker doors", Grade: gradeOK, Found: fmt.Sprintf("only its unix sockets (dockerd is pid %d)", pid)})
}

// dockerNotes reports settings of the daemon that change what can be seen.
func dockerNotes(facts dockerFacts) []diagnosis {
	var out []diagnosis
	for _, s := range facts.Security {
		switch {
		case strings.Contains(s, "name=rootless"):
			out = append(out, diagnosis{
				Check: "docker rootless", Grade: gradeNote, Found: "the daemon runs without root in a user namespace",
				Effect: "uids inside are shown as the host knows them (subuids)",
			})
		case strings.Contains(s, "name=userns"):
			out = append(out, diagnosis{
				Check: "docker userns-remap", Grade: gradeNote, Found: "containers run in a user namespace",
				Effect: "uids inside are shown as the host knows them (subuids)",
			})
		}
	}
	if len(facts.Authz) > 0 {
		out = append(out, diagnosis{
			Check: "docker authorization", Grade: gradeNote, Found: "plugins: " + strings.Join(facts.Authz, ", "),
			Effect: "a request they refuse is seen as asked for and failed",
		})
	}
	return out
}

// freeMin is what the store needs to be of use for some days of a busy host.
const freeMin = 512 << 20

func (x *exam) checkState(context.Context) []diagnosis {
	path := x.conf.State
	facts, err := x.dir(path)
	d := diagnosis{Check: "state directory", Grade: gradeOK}
	switch {
	case err != nil:
		d.Grade, d.Found = gradeDegraded, err.Error()
		d.Remedy = []string{"sudo install -d -m 0700 " + path}
	case facts.Holder != 0:
		d.Found = fmt.Sprintf("%s is in use: sallyport up runs as pid %d", path, facts.Holder)
	case !facts.Writable:
		d.Grade, d.Found = gradeDegraded, path+" cannot be written by this user"
		d.Effect = "sallyport up cannot keep anything here"
		d.Remedy = []string{"sudo install -d -m 0700 " + path, "or use another: sallyport up --state DIR"}
	case facts.Free < freeMin:
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("%s has %d MB free", path, facts.Free>>20)
		d.Effect = "the store will soon be full; Sallyport goes on watching and keeps nothing"
		d.Remedy = []string{"df -h " + path, "or use another: sallyport up --state DIR"}
	case facts.Exists && facts.Mode&0o077 != 0:
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("%s is open to other users (mode %#o)", path, facts.Mode)
		d.Remedy = []string{"sudo chmod 0700 " + path}
	default:
		d.Found = fmt.Sprintf("%s, %d MB free", path, facts.Free>>20)
		if !facts.Exists {
			d.Found += "; sallyport up will make it"
		}
	}
	return one(d)
}

func (x *exam) checkClock(context.Context) []diagnosis {
	d := diagnosis{Check: "clock", Grade: gradeOK, Found: "synchronised"}
	const remedy = "sudo timedatectl set-ntp true"
	if now := x.now(); now.Year() < 2024 || now.Before(x.built) {
		d.Grade, d.Found = gradeDegraded, "the clock says "+now.UTC().Format(time.DateTime)+" UTC, which cannot be"
		d.Effect, d.Remedy = "all times in the records are wrong", []string{remedy}
		return one(d)
	}
	if ok, err := x.synced(); err != nil || !ok {
		d.Grade, d.Found = gradeNote, "plausible; the kernel does not know it to be synchronised"
		d.Effect, d.Remedy = "times may not agree with other hosts; sessions of this host are not affected", []string{remedy}
	}
	return one(d)
}

// loginUnset is what the kernel says of a process that nobody logged in to
// start.
const loginUnset = "4294967295"

func (x *exam) checkLogin(context.Context) []diagnosis {
	if x.goos != "linux" {
		return nil
	}
	uid, err := x.read("/proc/self/loginuid")
	switch uid = strings.TrimSpace(uid); {
	case err != nil:
		return one(diagnosis{
			Check: "login uid", Grade: gradeNote, Found: "the kernel keeps none (no audit)",
			Effect: "behind sudo the person who logged in is not known",
		})
	case uid == loginUnset:
		return one(diagnosis{
			Check: "login uid", Grade: gradeNote, Found: "not set in this session",
			Effect: "behind sudo the person who logged in is not known, unless logins set it",
			Remedy: []string{"in /etc/pam.d/{login,sshd,cron}: session required pam_loginuid.so (a daemon, a container or a CI runner has none by nature)"},
		})
	}
	return one(diagnosis{Check: "login uid", Grade: gradeOK, Found: "set by the login: " + uid})
}
