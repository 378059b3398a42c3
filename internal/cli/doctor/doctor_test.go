package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/audit"
)

const dockerAddress = "unix:///var/run/docker.sock"

// wellFeatures are those of a level 2 host: all but trampolines.
func wellFeatures() kernel.Features {
	return kernel.Features{
		{Name: kernel.FeatureCapabilities, What: "permission", Needed: true},
		{Name: kernel.FeatureBTF, What: "types", Needed: true},
		{Name: kernel.FeatureTracepoints, What: "processes", Needed: true},
		{Name: kernel.FeatureConnectUnix, What: "peers"},
		{Name: kernel.FeatureTCPState, What: "peers by TCP"},
		{Name: kernel.FeatureSockLength, What: "requests"},
		{Name: kernel.FeatureFentry, What: "cheaper request heads", Err: errors.New("operation not permitted")},
		{Name: kernel.FeatureLSM, What: "denying in the kernel", Err: errors.New("operation not permitted")},
	}
}

// broken returns wellFeatures without one.
func broken(name string) func() kernel.Features {
	return func() kernel.Features {
		fs := wellFeatures()
		i := slices.IndexFunc(fs, func(f kernel.Feature) bool { return f.Name == name })
		fs[i].Err, fs[i].Hint = errors.New("is not there"), "get "+name
		return fs
	}
}

// well returns an exam of a host that has everything.
func well() *exam {
	files := map[string]string{
		"/proc/sys/kernel/osrelease": "6.18.5\n",
		"/proc/self/mountinfo":       "31 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"/proc/self/loginuid":        "1000",
	}
	return &exam{
		goos: "linux", address: dockerAddress, conf: config.Config{State: "/var/lib/sallyport", AdmissionHold: time.Second}, now: func() time.Time { return time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC) },
		read: func(p string) (string, error) {
			if s, ok := files[p]; ok {
				return s, nil
			}
			return "", os.ErrNotExist
		},
		features: wellFeatures,
		docker: func(context.Context, string) (dockerFacts, error) {
			return dockerFacts{Address: dockerAddress, Version: "20.10.24", APIVersion: "1.41"}, nil
		},
		listeners:  func(string) (uint32, []string, error) { return 900, nil, nil },
		find:       func() (string, error) { return "/run/docker/containerd/containerd.sock", nil },
		containerd: func(context.Context, string) (string, error) { return "1.6.20", nil },
		dir: func(string) (dirFacts, error) {
			return dirFacts{Exists: true, Writable: true, Free: 9 << 30, Mode: 0o700}, nil
		},
		synced: func() (bool, error) { return true, nil },
	}
}

// withAPIServer puts an API server on the host, with what its audit log shows.
func (x *exam) withAPIServer(pod string, facts audit.Facts, err error) {
	read := x.read
	x.read = func(p string) (string, error) {
		if p == apiServerPod {
			return "kube-apiserver " + pod, nil
		}
		return read(p)
	}
	x.audit = func(string) (audit.Facts, error) { return facts, err }
}

func TestDoctorOnAHostThatHasEverything(t *testing.T) {
	up := well().examine(t.Context())
	if up.exit() != exit.Fine {
		t.Errorf("exit %d: %+v", up.exit(), up.diagnoses)
	}
	if diff := cmp.Diff(hostNeeds(), inOrder(up.have)); diff != "" {
		t.Errorf("have (-want +got):\n%s", diff)
	}
	for _, d := range up.diagnoses {
		if d.Grade != gradeOK && d.Check != "kernel: fentry" && d.Check != "kernel: lsm" {
			t.Errorf("not ok: %+v", d)
		}
	}
}

// inOrder sorts needs as attack.Needs does.
func inOrder(have []attack.Need) []attack.Need {
	return slices.DeleteFunc(hostNeeds(), func(n attack.Need) bool { return !slices.Contains(have, n) })
}

var errRefused = errors.New("dial unix /var/run/docker.sock: connect: connection refused")

// TestDoctorFinds breaks one thing at a time: the check that is about it must
// say so, with the remedy, and nothing else may be counted that is gone.
func TestDoctorFinds(t *testing.T) {
	noDocker := func(context.Context, string) (dockerFacts, error) { return dockerFacts{}, errRefused }
	for name, tc := range map[string]struct {
		change func(*exam)
		check  string
		grade  grade
		exit   int
		remedy string // part of it
		lacks  []attack.Need
	}{
		"no docker": {
			func(x *exam) { x.docker = noDocker },
			"docker", gradeMissing, exit.Findings, "systemctl start docker", []attack.Need{attack.NeedDocker},
		},
		"docker socket closed to us": {
			func(x *exam) {
				x.uid = 1001
				x.docker = func(context.Context, string) (dockerFacts, error) {
					return dockerFacts{}, errors.New("permission denied")
				}
			},
			"docker", gradeMissing, exit.Findings, "sudo", []attack.Need{attack.NeedDocker},
		},
		"API server without an audit log": {
			func(x *exam) { x.withAPIServer("", audit.Facts{}, nil) },
			"kubernetes audit", gradeDegraded, exit.Findings, "kube audit-policy", nil,
		},
		"audit log": {
			func(x *exam) {
				x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{Events: 9, Newest: x.now(), Stages: map[event.KubeStage]int{"received": 1, "started": 1}}, nil)
			},
			"kubernetes audit", gradeOK, exit.Fine, "", nil,
		},
		"audit log of yesterday": {
			func(x *exam) {
				x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{Events: 9, Newest: x.now().Add(-24 * time.Hour)}, nil)
			},
			"kubernetes audit", gradeDegraded, exit.Findings, "ps -o args", nil,
		},
		"audit log without a stage": {
			func(x *exam) {
				x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{Events: 9, Newest: x.now(), Stages: map[event.KubeStage]int{"started": 1}}, nil)
			},
			"kubernetes audit", gradeNote, exit.Fine, "kube audit-policy", nil,
		},
		"audit log in the old format": {
			func(x *exam) { x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{Events: 9, Malformed: 9}, nil) },
			"kubernetes audit", gradeDegraded, exit.Findings, "--audit-log-format", nil,
		},
		"audit log that is not there": {
			func(x *exam) { x.withAPIServer("- --audit-log-path=/a.log", audit.Facts{}, os.ErrNotExist) },
			"kubernetes audit", gradeDegraded, exit.Findings, "--audit-log-path", nil,
		},
		"not root, with capabilities": {
			func(x *exam) { x.uid = 1001 },
			"privileges", gradeOK, exit.Fine, "", nil,
		},
		"not root": {
			func(x *exam) { x.uid, x.features = 1001, broken(kernel.FeatureCapabilities) },
			"privileges", gradeDegraded, exit.Findings, "sudo", []attack.Need{attack.NeedKernel, attack.NeedPeers, attack.NeedRequests},
		},
		"docker on TCP too": {
			func(x *exam) {
				x.listeners = func(string) (uint32, []string, error) { return 900, []string{"[::]:2375"}, nil }
			},
			"docker doors", gradeDegraded, exit.Findings, "daemon.json", nil,
		},
		"remote docker": {
			func(x *exam) {
				x.docker = func(context.Context, string) (dockerFacts, error) {
					return dockerFacts{Address: "tcp://10.0.0.1:2376"}, nil
				}
			},
			"docker doors", gradeDegraded, exit.Findings, "own host", nil,
		},
		"docker rootless": {
			func(x *exam) {
				x.docker = func(context.Context, string) (dockerFacts, error) {
					return dockerFacts{Address: dockerAddress, Security: []string{"name=seccomp,profile=default", "name=rootless"}}, nil
				}
			},
			"docker rootless", gradeNote, exit.Fine, "", nil,
		},
		"docker userns": {
			func(x *exam) {
				x.docker = func(context.Context, string) (dockerFacts, error) {
					return dockerFacts{Address: dockerAddress, Security: []string{"name=userns"}}, nil
				}
			},
			"docker userns-remap", gradeNote, exit.Fine, "", nil,
		},
		"docker authorization": {
			func(x *exam) {
				x.docker = func(context.Context, string) (dockerFacts, error) {
					return dockerFacts{Address: dockerAddress, Authz: []string{"opa"}}, nil
				}
			},
			"docker authorization", gradeNote, exit.Fine, "", nil,
		},
		"no containerd": {
			func(x *exam) { x.find = func() (string, error) { return "", errors.New("none") } },
			"containerd", gradeMissing, exit.Findings, "--containerd", []attack.Need{attack.NeedContainerd},
		},
		"containerd does not answer": {
			func(x *exam) {
				x.containerd = func(context.Context, string) (string, error) { return "", errRefused }
			},
			"containerd", gradeMissing, exit.Findings, "--containerd", []attack.Need{attack.NeedContainerd},
		},
		"CRI-O does not answer": {
			func(x *exam) { x.crio = func(context.Context) (string, error) { return "", errRefused } },
			"CRI-O", gradeMissing, exit.Findings, "start crio", nil,
		},
		"CRI-O, and no containerd": {
			func(x *exam) {
				x.find = func() (string, error) { return "", errors.New("none") }
				x.crio = func(context.Context) (string, error) { return "version 1.34.0", nil }
			},
			"CRI-O", gradeOK, exit.Fine, "", []attack.Need{attack.NeedContainerd},
		},
		"no BTF": {
			func(x *exam) { x.features = broken(kernel.FeatureBTF) },
			"kernel: btf", gradeMissing, exit.Findings, "get btf",
			[]attack.Need{attack.NeedKernel, attack.NeedPeers, attack.NeedRequests},
		},
		"nothing probed": {
			func(x *exam) { x.features = func() kernel.Features { return nil } },
			"kernel sensor", gradeMissing, exit.Findings, "", []attack.Need{attack.NeedKernel, attack.NeedPeers, attack.NeedRequests},
		},
		"no peers": {
			func(x *exam) { x.features = broken(kernel.FeatureConnectUnix) },
			"client peers", gradeDegraded, exit.Findings, "get connect_unix", []attack.Need{attack.NeedPeers},
		},
		"no requests": {
			func(x *exam) { x.features = broken(kernel.FeatureSockLength) },
			"client requests", gradeDegraded, exit.Findings, "get sock_length", []attack.Need{attack.NeedRequests},
		},
		"cgroup 1 only": {
			func(x *exam) {
				x.read = func(string) (string, error) { return "1 2 3 / /c rw - cgroup cgroup rw,pids", nil }
			},
			"cgroups", gradeDegraded, exit.Findings, "mount -t cgroup2", nil,
		},
		"cgroup 1 with unified": {
			func(x *exam) {
				x.read = func(string) (string, error) {
					return "1 / /c rw - cgroup cgroup rw\n2 / /u rw - cgroup2 none rw\n", nil
				}
			},
			"cgroups", gradeOK, exit.Fine, "", nil,
		},
		"no cgroups": {
			func(x *exam) { x.read = func(string) (string, error) { return "1 / / rw - ext4 /dev/vda rw", nil } },
			"cgroups", gradeDegraded, exit.Findings, "mount -t cgroup2", nil,
		},
		"full disk": {
			func(x *exam) {
				x.dir = func(string) (dirFacts, error) {
					return dirFacts{Exists: true, Writable: true, Free: 1 << 20, Mode: 0o700}, nil
				}
			},
			"state directory", gradeDegraded, exit.Findings, "--state", nil,
		},
		"state not writable": {
			func(x *exam) { x.dir = func(string) (dirFacts, error) { return dirFacts{Free: 9 << 30}, nil } },
			"state directory", gradeDegraded, exit.Findings, "install -d -m 0700", nil,
		},
		"state open to others": {
			func(x *exam) {
				x.dir = func(string) (dirFacts, error) {
					return dirFacts{Exists: true, Writable: true, Free: 9 << 30, Mode: 0o755}, nil
				}
			},
			"state directory", gradeDegraded, exit.Findings, "chmod 0700", nil,
		},
		"up runs": {
			func(x *exam) {
				x.dir = func(string) (dirFacts, error) { return dirFacts{Exists: true, Holder: 708}, nil }
			},
			"state directory", gradeOK, exit.Fine, "", nil,
		},
		"state is a file": {
			func(x *exam) {
				x.dir = func(string) (dirFacts, error) { return dirFacts{}, errors.New("not a directory") }
			},
			"state directory", gradeDegraded, exit.Findings, "install -d", nil,
		},
		"clock of 1970": {
			func(x *exam) { x.now = func() time.Time { return time.Unix(3600, 0) } },
			"clock", gradeDegraded, exit.Findings, "timedatectl", nil,
		},
		"clock before the build": {
			func(x *exam) { x.built = x.now().Add(time.Hour) },
			"clock", gradeDegraded, exit.Findings, "timedatectl", nil,
		},
		"clock not synchronised": {
			func(x *exam) { x.synced = func() (bool, error) { return false, nil } },
			"clock", gradeNote, exit.Fine, "timedatectl", nil,
		},
		"no login uid": {
			func(x *exam) {
				old := x.read
				x.read = func(p string) (string, error) {
					if p == "/proc/self/loginuid" {
						return loginUnset, nil
					}
					return old(p)
				}
			},
			"login uid", gradeNote, exit.Fine, "pam_loginuid", nil,
		},
		"not Linux": {
			func(x *exam) {
				x.goos = "darwin"
				x.features = func() kernel.Features { return nil }
				x.docker = noDocker
				x.find = func() (string, error) { return "", errors.New("none") }
			},
			"system", gradeMissing, exit.Usage, "Linux host", hostNeeds(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := well()
			tc.change(x)
			up := x.examine(t.Context())
			if up.exit() != tc.exit {
				t.Errorf("exit %d, want %d: %+v", up.exit(), tc.exit, up.diagnoses)
			}
			i := slices.IndexFunc(up.diagnoses, func(d diagnosis) bool { return d.Check == tc.check })
			if i < 0 {
				t.Fatalf("no check %q in %+v", tc.check, up.diagnoses)
			}
			d := up.diagnoses[i]
			if d.Grade != tc.grade {
				t.Errorf("%s: %s, want %s: %+v", tc.check, d.Grade, tc.grade, d)
			}
			if tc.remedy != "" && !strings.Contains(strings.Join(d.Remedy, "\n"), tc.remedy) {
				t.Errorf("remedy %q does not say %q", d.Remedy, tc.remedy)
			}
			for _, n := range hostNeeds() {
				if has, want := slices.Contains(up.have, n), !slices.Contains(tc.lacks, n); has != want {
					t.Errorf("has %s: %v, want %v", n, has, want)
				}
			}
		})
	}
}

// TestDoctorHasARemedyForAllThatIsWrong: a bad finding without a next step is
// of no use.
func TestDoctorHasARemedyForAllThatIsWrong(t *testing.T) {
	x := well()
	x.uid = 65534
	x.features = func() kernel.Features { return nil }
	x.docker = func(context.Context, string) (dockerFacts, error) { return dockerFacts{}, errRefused }
	x.find = func() (string, error) { return "", errors.New("none") }
	x.dir = func(string) (dirFacts, error) { return dirFacts{}, nil }
	up := x.examine(t.Context())
	if up.exit() != exit.Usage {
		t.Errorf("exit %d, want 2", up.exit())
	}
	for _, d := range up.diagnoses {
		bad := d.Grade == gradeDegraded || d.Grade == gradeMissing
		if bad && len(d.Remedy) == 0 && d.Check != "kernel sensor" && !strings.HasPrefix(d.Check, "client") {
			t.Errorf("no remedy: %+v", d)
		}
	}
}

func TestDoctorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := well()
		ctx, release := context.WithCancel(t.Context())
		defer release()
		x.find = func() (string, error) { <-ctx.Done(); return "", ctx.Err() }
		begin := time.Now()
		up := x.examine(t.Context())
		if took := time.Since(begin); took != checkMax {
			t.Errorf("took %v, want %v", took, checkMax)
		}
		i := slices.IndexFunc(up.diagnoses, func(d diagnosis) bool { return d.Check == "containerd" })
		if d := up.diagnoses[i]; d.Grade != gradeDegraded || !strings.Contains(d.Found, "no answer") {
			t.Errorf("got %+v", d)
		}
		if up.exit() != exit.Findings {
			t.Errorf("exit %d", up.exit())
		}
	})
}

func TestDoctorOutput(t *testing.T) {
	x := well()
	x.docker = func(context.Context, string) (dockerFacts, error) {
		return dockerFacts{}, errors.New("hostile \x1b[2J\nanswer")
	}
	up := x.examine(t.Context())
	t.Run("table", func(t *testing.T) {
		var b bytes.Buffer
		if err := up.table(&b, terminal.Palette{}); err != nil {
			t.Fatal(err)
		}
		if out := b.String(); strings.Contains(out, "\x1b") || !strings.HasPrefix(out, "degraded: ") || !strings.Contains(out, "fix: ") {
			t.Errorf("table:\n%s", out)
		}
	})
	t.Run("colours", func(t *testing.T) {
		var b bytes.Buffer
		if err := up.table(&b, terminal.Palette{Colours: true}); err != nil {
			t.Fatal(err)
		}
		if out := b.String(); !strings.Contains(out, "\x1b[32mok") || strings.Contains(out, "\x1b[2J") {
			t.Errorf("table:\n%q", out)
		}
	})
	t.Run("json", func(t *testing.T) {
		var b bytes.Buffer
		if err := up.lines(&b, terminal.Palette{}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != len(up.diagnoses)+1 {
			t.Fatalf("%d lines for %d checks and a verdict", len(lines), len(up.diagnoses))
		}
		var last struct {
			Check string
			Exit  int
			Have  []attack.Need
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if last.Check != "verdict" || last.Exit != 1 || slices.Contains(last.Have, attack.NeedDocker) {
			t.Errorf("verdict %+v", last)
		}
	})
}

func TestLookAtDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	facts, err := lookAtDir(dir)
	if err != nil || !facts.Exists || !facts.Writable || facts.Free == 0 || facts.Mode != 0o700 || facts.Holder != 0 {
		t.Errorf("%+v, %v", facts, err)
	}
	facts, err = lookAtDir(dir + "/not/there")
	if err != nil || facts.Exists || !facts.Writable {
		t.Errorf("%+v, %v", facts, err)
	}
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if facts, err := lookAtDir(file); err == nil {
		t.Errorf("%+v, want an error", facts)
	}
}

// hostNeeds are the needs that a host without Kubernetes can meet.
func hostNeeds() []attack.Need {
	return slices.DeleteFunc(attack.Needs(), func(n attack.Need) bool {
		return n == attack.NeedAudit || n == attack.NeedAdmission || n == attack.NeedPods
	})
}
