package guard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
)

// listener makes the socket that a guard's clients connect to.
type listener struct {
	group, cert, key, clientCA string
	flag                       string // that says where: --listen, --control
	said                       string // where it listens, for a person
	path                       string // of the socket file that is ours to remove
}

// listen listens at unix:///path, tcp://host:port or systemd.
func (l *listener) listen(ctx context.Context, address string, getenv func(string) string) (net.Listener, error) {
	l.said = address
	switch network, at, _ := strings.Cut(address, "://"); {
	case address == "systemd":
		return l.inherited(getenv)
	case network == "unix" && filepath.IsAbs(at):
		return l.unix(ctx, filepath.Clean(at))
	case network == "tcp":
		return l.tls(ctx, at)
	}
	return nil, exit.Fail(exit.Usage, "unix:///path, tcp://host:port or systemd", "%s %q", l.flag, address)
}

// close removes what listen made.
func (l *listener) close() {
	if l.path != "" {
		_ = os.Remove(l.path)
	}
}

// unix makes the socket beside its place, with the right owner, and then puts it
// there: nobody connects before.
func (l *listener) unix(ctx context.Context, path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, exit.Fail(exit.Usage, "stop it, or name another path with "+l.flag, "somebody listens at %s already", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, exit.Fail(exit.Usage, "name another path with "+l.flag, "%s is there and is no socket", path)
	}
	gid, err := l.gid()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, exit.Fail(exit.Usage, "name a path of your own with "+l.flag, "%w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return nil, exit.Fail(exit.Usage, "name a path of your own with "+l.flag, "%w", err)
	}
	defer os.RemoveAll(dir)
	fresh := filepath.Join(dir, "s")
	made, err := new(net.ListenConfig).Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if u, ok := made.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	err = os.Chmod(fresh, 0o660)
	if err == nil && l.group != "" {
		err = os.Chown(fresh, -1, gid)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen at %s: %w", path, err), made.Close())
	}
	l.path = path
	return made, nil
}

func (l *listener) gid() (int, error) {
	if l.group == "" {
		return -1, nil
	}
	gid, err := groupID(l.group)
	if err != nil {
		return 0, exit.Fail(exit.Usage, "the name or number of a group", "the group of %s: %w", l.flag, err)
	}
	return int(gid), nil
}

// tls listens for clients that have a certificate.
func (l *listener) tls(ctx context.Context, address string) (net.Listener, error) {
	if l.cert == "" || l.key == "" || l.clientCA == "" {
		return nil, exit.Fail(exit.Usage, "name --tls-cert, --tls-key and --tls-client-ca", "over TCP whoever asks is known by his certificate alone")
	}
	cert, err := tls.LoadX509KeyPair(l.cert, l.key)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--tls-cert, --tls-key: %w", err)
	}
	pem, err := os.ReadFile(l.clientCA)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "", "--tls-client-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, exit.Fail(exit.Usage, "", "--tls-client-ca: no certificate in %s", l.clientCA)
	}
	plain, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, exit.Fail(exit.Usage, "another address with "+l.flag, "%w", err)
	}
	l.said = "tcp://" + plain.Addr().String() // port 0 is whichever there is
	return tls.NewListener(plain, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}), nil
}

// inherited takes the one socket that systemd hands on (sd_listen_fds(3)).
func (l *listener) inherited(getenv func(string) string) (net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || getenv("LISTEN_FDS") != "1" {
		return nil, exit.Fail(exit.Usage, "start it by a .socket unit that names one socket", "systemd hands on no socket")
	}
	f := os.NewFile(3, "systemd")
	defer f.Close()
	made, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket of systemd: %w", err)
	}
	l.said = made.Addr().String()
	return made, nil
}
