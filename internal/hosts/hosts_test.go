package hosts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
jane:x:1000:1000:Jane,,,:/home/jane:/bin/bash
ops:x:1001:998::/home/ops:
+nis::::::
broken:x:one:2::/:/bin/sh
`

const group = `root:x:0:
docker:x:998:jane,jane,ghost
jane:x:1000:
nonsense
`

func TestAccounts(t *testing.T) {
	users, skipped, err := Passwd("/etc/passwd", strings.NewReader(passwd))
	if err != nil || len(users) != 4 || len(skipped) != 2 || skipped[0].Origin.Line != 5 {
		t.Fatalf("%+v, skipped %+v, %v", users, skipped, err)
	}
	if users[1].Login != inventory.No || users[3].Login != inventory.Yes {
		t.Errorf("logins: %+v", users)
	}
	groups, skipped, err := Groups("/etc/group", strings.NewReader(group), users)
	want := []inventory.UnixGroup{
		{Name: "root", Members: []string{"root"}, Primary: []string{"root"}, Origin: inventory.Origin{Source: "/etc/group", Line: 1}},
		{Name: "docker", GID: 998, Members: []string{"jane", "ghost", "ops"}, Primary: []string{"ops"}, Origin: inventory.Origin{Source: "/etc/group", Line: 2}},
		{Name: "jane", GID: 1000, Members: []string{"jane"}, Primary: []string{"jane"}, Origin: inventory.Origin{Source: "/etc/group", Line: 3}},
	}
	if d := cmp.Diff(want, groups); d != "" || len(skipped) != 1 || err != nil {
		t.Errorf("%s\nskipped %+v, %v", d, skipped, err)
	}
}

func TestOtherSourcesOfUsers(t *testing.T) {
	conf := []byte("# comment\npasswd: files systemd sss [NOTFOUND=return] ldap # more\ngroup:files\n")
	if got := others(conf, "passwd"); !slices.Equal(got, []string{"sss", "ldap"}) {
		t.Errorf("passwd: %q", got)
	}
	if got := others(conf, "group"); got != nil {
		t.Errorf("group: %q", got)
	}
}

// attribute makes an access control list as the kernel has it.
func attribute(entries ...[3]uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return b
}

var acl = attribute([3]uint32{aclUserObj, 6, ^uint32(0)}, [3]uint32{aclUser, 6, 1000}, [3]uint32{aclUser, 4, 4242},
	[3]uint32{aclGroupObj, 0, ^uint32(0)}, [3]uint32{aclGroup, 7, 998}, [3]uint32{aclMask, 6, ^uint32(0)}, [3]uint32{aclOther, 0, ^uint32(0)})

func TestACL(t *testing.T) {
	users := []inventory.Account{{Name: "jane", UID: 1000}}
	got, err := ACL(acl, users, []inventory.UnixGroup{{Name: "docker", GID: 998}})
	want := []string{"user:jane:rw-", "user:4242:r--", "group:docker:rwx", "mask::rw-", "group::---"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if got, err := ACL(attribute([3]uint32{aclUserObj, 6, 0}, [3]uint32{aclGroupObj, 6, 0}, [3]uint32{aclOther, 0, 0}), nil, nil); err != nil || got != nil {
		t.Errorf("a list that says what the mode says: %q, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {2, 0, 0}, {1, 0, 0, 0}, acl[:len(acl)-1], attribute([3]uint32{3, 0, 0}), attribute([3]uint32{aclUser, 9, 0})} {
		if got, err := ACL(bad, nil, nil); err == nil {
			t.Errorf("%x: %q", bad, got)
		}
	}
}

// manyAliases are sixteen aliases, each of ten times the next one, that come to nothing.
var manyAliases = func() (out string) {
	for i := range 16 {
		out += fmt.Sprintf("Cmnd_Alias A%d = %s\n", i, strings.Repeat(fmt.Sprintf("!A%d, ", i+1), 9)+fmt.Sprintf("!A%d", i+1))
	}
	return strings.ReplaceAll(out, "!A16", "!!!/bin/x") + "jane ALL=A0\n"
}()

// sudoCases are sudoers and what they come to: USERS %GROUPS as AS: COMMANDS.
var sudoCases = []struct {
	name, sudoers string
	want          []string
	skipped       []string
}{
	{"all", "root ALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) NOPASSWD: ALL\n", []string{"root as ALL: ALL", "%sudo as ALL: ALL nopasswd"}, nil},
	{"tools alone", "jane ALL = /usr/bin/docker, /bin/ls, NOPASSWD: /usr/sbin/reboot, /usr/bin/nsenter\n", []string{"jane as root: /usr/bin/docker", "jane as root: /usr/bin/nsenter nopasswd"}, nil},
	{"nothing that matters", "jane ALL=/bin/ls, /usr/bin/dockerish\n", nil, nil},
	{"arguments", `jane ALL=(root) /usr/bin/docker exec -it web\,1 sh, /usr/bin/docker ps` + "\n", []string{"jane as root: /usr/bin/docker exec -it web,1 sh|/usr/bin/docker ps"}, nil},
	{"continued", "jane ALL = \\\n  /usr/bin/docker, \\\n /usr/bin/ctr\n%x ALL=ALL", []string{"jane as root: /usr/bin/docker|/usr/bin/ctr", "%x as root: ALL"}, nil},
	{"comments", "# jane ALL=ALL\njane ALL=ALL # and more\n#1000 ALL=ALL\n%#998 ALL=ALL#1000\n", []string{"jane as root: ALL", "jane as root: ALL", "%docker as root: ALL"}, nil},
	{
		"aliases", "CT : X\nUser_Alias OPS = jane, %docker : BOSS = root\nCmnd_Alias CT = /usr/bin/docker, MORE\nCmnd_Alias MORE = /usr/bin/crictl\nRunas_Alias R = root\nHost_Alias H = here, other\nOPS H = (R) CT\nBOSS other = ALL\n",
		[]string{"jane %docker as root: /usr/bin/docker|/usr/bin/crictl"}, []string{"/etc/sudoers:1"},
	},
	{"an alias of itself", "Cmnd_Alias A = B\nCmnd_Alias B = A\njane ALL=A\n", nil, []string{"/etc/sudoers:3"}},
	{"no such alias", "jane ALL=TOOLS\n", nil, []string{"/etc/sudoers:1"}},
	{"hosts", "jane there=ALL : here=ALL\nbob there=ALL\neve 10.0.0.0/8=ALL\n", []string{"jane as root: ALL", "eve as root: ALL"}, []string{"/etc/sudoers:3"}},
	{"oneself and groups", "jane ALL=(:docker) ALL\nbob ALL=() ALL\n", []string{"jane as %docker: ALL", "bob as : ALL"}, nil},
	{"a group beside a user", "jane ALL=(bob:docker) ALL\nbob ALL=(root:docker) ALL\n", []string{"jane as bob,%docker: ALL", "bob as root: ALL"}, nil},
	{"negated twice", "!!jane, ! ! bob, !eve ALL = !!/usr/bin/docker, ! ! /bin/sh, !!!/bin/su\n", []string{"jane bob as root: /usr/bin/docker|/bin/sh"}, nil},
	{"negated aliases", "Cmnd_Alias NO = !/bin/sh, /bin/su\nUser_Alias U = !!jane\n!!U ALL = !NO\n", []string{"jane as root: /bin/sh"}, nil},
	{"aliases without end", manyAliases, nil, []string{"/etc/sudoers:17"}},
	{"negated", "jane, !bob ALL = ALL, !/bin/su\n", []string{"jane as root: ALL"}, nil},
	{"digests and options", "jane ALL = CWD=/srv TIMEOUT=5m sha256:abc= /usr/bin/docker\nbob ALL=(root) NOEXEC: SETENV: /bin/bash\n", []string{"jane as root: /usr/bin/docker", "bob as root: /bin/bash"}, nil},
	{"patterns", "jane ALL=/usr/bin/d*, /usr/bin/\nbob ALL=/usr/bin/q*\neve ALL=^/usr/bin/docker$\n", []string{"jane as root: /usr/bin/d*|/usr/bin/"}, []string{"/etc/sudoers:3"}},
	{"names with blanks", `"the boss" ALL=ALL` + "\n" + `DOM\\jane ALL=ALL` + "\n", []string{"the boss as root: ALL", `DOM\jane as root: ALL`}, nil},
	{"elsewhere", "+admins ALL=ALL\n%:domain ALL=ALL\n", nil, []string{"/etc/sudoers:1", "/etc/sudoers:2"}},
	{"defaults", "Defaults env_reset\nDefaults:jane !authenticate\nDefaults@here x\njane ALL=ALL\n", []string{"jane as root: ALL"}, nil},
	{"broken", "jane\njane ALL\njane ALL=(root ALL\nbob ALL=ALL\n", []string{"bob as root: ALL"}, []string{"/etc/sudoers:1", "/etc/sudoers:2", "/etc/sudoers:3"}},
	{
		"includes", "@includedir /etc/sudoers.d\n#include local-%h\n@include missing\n",
		[]string{"a as root: ALL", "b as root: ALL", "c as root: ALL"}, []string{"/etc/sudoers:3"},
	},
	{"itself", "@include /etc/sudoers\njane ALL=ALL\n", slices.Repeat([]string{"jane as root: ALL"}, sudoNestMax+1), []string{"/etc/sudoers:1"}},
}

var sudoFiles = map[string]string{
	"etc/sudoers.d/10-a": "a ALL=ALL\n", "etc/sudoers.d/20-b": "b ALL=ALL", "etc/sudoers.d/README.txt": "no ALL=ALL\n",
	"etc/sudoers.d/old~": "no ALL=ALL\n", "etc/local-here": "c ALL=ALL\n",
}

func sudo(sudoers string) ([]inventory.SudoRule, []inventory.Skipped, error) {
	root := fstest.MapFS{"etc/sudoers": {Data: []byte(sudoers)}}
	for name, text := range sudoFiles {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return Sudo(root, "etc/sudoers", "here.example", []inventory.Account{{Name: "root"}, {Name: "jane", UID: 1000}}, []inventory.UnixGroup{{Name: "docker", GID: 998}})
}

func TestSudo(t *testing.T) {
	for _, c := range sudoCases {
		t.Run(c.name, func(t *testing.T) {
			rules, skipped, err := sudo(c.sudoers)
			if err != nil {
				t.Fatal(err)
			}
			var got, at []string
			for _, r := range rules {
				who := slices.Clone(r.Users)
				for _, g := range r.Groups {
					who = append(who, "%"+g)
				}
				s := fmt.Sprintf("%s as %s: %s", strings.Join(who, " "), strings.Join(r.As, ","), strings.Join(r.Commands, "|"))
				if r.NoPasswd {
					s += " nopasswd"
				}
				got = append(got, s)
			}
			for _, s := range skipped {
				if p := fmt.Sprintf("%s:%d", s.Origin.Source, s.Origin.Line); !slices.Contains(at, p) {
					at = append(at, p)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(c.skipped, at); d != "" {
				t.Errorf("skipped: %s\n%+v", d, skipped)
			}
		})
	}
}

// TestSudoOfALongerName: a machine that does not know its domain may be the one of
// that name in another one's rules.
func TestSudoOfALongerName(t *testing.T) {
	root := fstest.MapFS{"etc/sudoers": {Data: []byte("jane web.example.com=ALL\nbob webx.example.com=ALL\neve web.example.org=ALL\n")}}
	for host, want := range map[string]string{"web": "jane? eve? ", "web.example.com": "jane ", "other": ""} {
		rules, skipped, err := Sudo(root, "etc/sudoers", host, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range rules {
			got += r.Users[0]
			if slices.ContainsFunc(skipped, func(s inventory.Skipped) bool { return s.Origin == r.Origin }) {
				got += "?"
			}
			got += " "
		}
		if got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestSudoWithoutSudo(t *testing.T) {
	if _, _, err := Sudo(fstest.MapFS{}, "etc/sudoers", "here", nil, nil); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzSudo(f *testing.F) {
	for _, c := range sudoCases {
		f.Add(c.sudoers)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, skipped, err := sudo(text)
		if err != nil {
			t.Fatal(err)
		}
		// What would be a rule for everything must never get lost without a word.
		more, moreSkipped, err := sudo("canary ALL=ALL\n" + text)
		if err != nil || len(more)+len(moreSkipped) < len(rules)+len(skipped) || len(more) == 0 || more[0].Users[0] != "canary" {
			t.Fatalf("%d rules and %d skipped before, %d and %d after another rule: %v", len(rules), len(skipped), len(more), len(moreSkipped), err)
		}
		for _, r := range rules {
			if len(r.Users)+len(r.Groups) == 0 || len(r.Commands) == 0 || r.Origin.Line == 0 {
				t.Fatalf("rule %+v", r)
			}
		}
	})
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte(passwd), []byte(group))
	f.Fuzz(func(t *testing.T, passwd, group []byte) {
		users, _, _ := Passwd("passwd", bytes.NewReader(passwd))
		groups, _, _ := Groups("group", bytes.NewReader(group), users)
		for _, g := range groups {
			for _, p := range g.Primary {
				if !slices.Contains(g.Members, p) {
					t.Fatalf("%s has the group %s as primary one and is no member", p, g.Name)
				}
			}
		}
	})
}

func FuzzACL(f *testing.F) {
	f.Add(acl)
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ACL(b, nil, nil)
		if err != nil && entries != nil {
			t.Fatalf("%q and %v", entries, err)
		}
	})
}

func TestServiceOfASocket(t *testing.T) {
	for _, c := range []struct {
		program, path string
		want          inventory.Service
	}{
		{"dockerd", "/run/docker.sock", "docker"}, {"systemd", "/run/docker.sock", "docker"}, {"dockerd", "/srv/x/d.sock", "docker"},
		{"", "/tmp/d.sock", ""}, {"dockerd", "/run/docker/metrics.sock", ""}, {"dockerd", "/run/docker/libnetwork/0a.sock", ""},
		{"containerd", "/run/containerd/containerd.sock", "containerd"}, {"containerd", "/run/containerd/containerd.sock.ttrpc", ""},
		{"containerd", "/x/containerd-debug.sock", ""}, {"crio", "/var/x.sock", "cri-o"}, {"sshd", "/run/x.sock", ""},
	} {
		if got := serviceOf(c.program, c.path); got != c.want {
			t.Errorf("%s on %s: %q, want %q", c.program, c.path, got, c.want)
		}
	}
}
