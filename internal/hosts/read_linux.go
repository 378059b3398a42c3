package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// fileMax bounds /etc/passwd and /etc/group, in bytes.
const fileMax = 64 << 20

// asRoot is the help where only root can look.
const asRoot = "run it as root"

// Read reads of this machine its accounts, sudo rules and runtime sockets; what
// could not be read, and lines that were not understood.
func Read() (*inventory.Host, []inventory.Unread, []inventory.Skipped) {
	r := reader{host: &inventory.Host{}}
	r.host.Name, _ = os.Hostname()
	r.accounts()
	r.sudo()
	r.sockets()
	return r.host, r.unread, r.skipped
}

type reader struct {
	host    *inventory.Host
	unread  []inventory.Unread
	skipped []inventory.Skipped
}

func (r *reader) missed(part inventory.Part, err error) {
	u := inventory.Unread{What: part, From: r.host.Name, Why: err.Error()}
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		u.Help = asRoot
	}
	r.unread = append(r.unread, u)
}

func (r *reader) accounts() {
	passwd, err := content("/etc/passwd")
	if err != nil {
		r.missed(inventory.PartAccounts, err)
		return
	}
	users, skipped, err := Passwd("/etc/passwd", bytes.NewReader(passwd))
	r.skipped = append(r.skipped, skipped...)
	if err != nil {
		r.missed(inventory.PartAccounts, err)
	}
	r.host.Users = users
	group, err := content("/etc/group")
	if err == nil {
		r.host.Groups, skipped, err = Groups("/etc/group", bytes.NewReader(group), users)
		r.skipped = append(r.skipped, skipped...)
	}
	if err != nil {
		r.missed(inventory.PartAccounts, err)
	}
	r.elsewhere(inventory.PartAccounts, "passwd", "group")
}

// elsewhere says which databases are not files alone.
func (r *reader) elsewhere(part inventory.Part, databases ...string) {
	conf, err := content("/etc/nsswitch.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.missed(part, err)
	}
	for _, d := range databases {
		if from := others(conf, d); len(from) > 0 {
			r.missed(part, fmt.Errorf("%s are looked up in %s, too (/etc/nsswitch.conf): those are not asked", d, strings.Join(from, ", ")))
		}
	}
}

func (r *reader) sudo() {
	rules, skipped, err := Sudo(os.DirFS("/"), "etc/sudoers", r.host.Name, r.host.Users, r.host.Groups)
	r.host.Sudo = rules
	r.skipped = append(r.skipped, skipped...)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without the file sudo lets nobody do anything
		r.missed(inventory.PartSudo, err)
	}
	r.elsewhere(inventory.PartSudo, "sudoers")
}

// content reads a file within bounds.
func content(name string) ([]byte, error) { return rootfs.Read(os.DirFS("/"), name, fileMax) }
