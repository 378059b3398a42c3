package guard

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// newAuthority writes an authority's certificate to dir/NAME.pem.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key, a.file = a.sign(t, dir, name, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: name},
	})
	return a
}

// sign writes a certificate to dir/NAME.pem, and its key to dir/NAME.key.
func (a *authority) sign(t *testing.T, dir, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := c, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name+".pem")
	err = errors.Join(
		os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return made, key, file
}

// client writes the certificate of a person.
func (a *authority) client(t *testing.T, dir, name string) {
	t.Helper()
	a.sign(t, dir, name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// TestGuardOverTCP: over TCP whoever asks is the one that his certificate names, and
// without one of the right authority nobody is heard.
func TestGuardOverTCP(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin, dir := docker.New(t, docker.Options{}), program.New(t), t.TempDir()
	right, wrong := newAuthority(t, dir, "right"), newAuthority(t, dir, "wrong")
	right.sign(t, dir, "server", &x509.Certificate{
		Subject: pkix.Name{CommonName: "guard"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	right.client(t, dir, "ann")
	right.client(t, dir, "bob")
	wrong.client(t, dir, "eve")
	rules := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(rules, []byte(`version: 1
default: deny
rules:
  - {id: ann, when: 'session.actor.kind == "tls" && session.actor.user == "ann"', effect: allow}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	e.RunT(t, "--name", "web", docker.Image)
	p := startGuardAt(t, "tcp://127.0.0.1:0", exec.Command(bin, "guard", "docker", "--to", e.Address, "--rules", rules, "--enforce", "--control", "off",
		"--tls-cert", filepath.Join(dir, "server.pem"), "--tls-key", filepath.Join(dir, "server.key"), "--tls-client-ca", right.file))
	at := regexp.MustCompile(`tcp://127\.0\.0\.1:[1-9]\d*`).FindString(p.said())
	if at == "" {
		t.Fatalf("it does not say where it listens:\n%s", p.said())
	}
	ask := func(args ...string) (string, error) {
		out, err := e.CLI(t.Context(), append([]string{"-H", at}, args...)...).CombinedOutput()
		return string(out), err
	}
	with := func(name string, ca *authority, args ...string) (string, error) {
		return ask(append([]string{"--tlsverify", "--tlscacert", ca.file, "--tlscert", filepath.Join(dir, name+".pem"), "--tlskey", filepath.Join(dir, name+".key")}, args...)...)
	}
	if out, err := with("ann", right, "exec", "web", "/bin/echo", "hello"); err != nil || out != "hello\n" {
		t.Errorf("ann: %v %s", err, out)
	}
	cmd := e.CLI(t.Context(), "-H", at, "--tlsverify", "--tlscacert", right.file, "--tlscert", filepath.Join(dir, "ann.pem"), "--tlskey", filepath.Join(dir, "ann.key"),
		"exec", "-i", "web", "/bin/cat")
	cmd.Stdin = strings.NewReader("in and out\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "in and out\n" {
		t.Errorf("ann: %v %s", err, out)
	}
	if out, err := with("bob", right, "exec", "web", "/bin/true"); err == nil || !strings.Contains(out, "denied by default") {
		t.Errorf("bob: %v %s", err, out)
	}
	p.await(t, "allow  ann  DK-EXEC  web  /bin/echo hello  rule ann")
	p.await(t, "deny  bob  DK-EXEC  web  /bin/true")
	before := strings.Count(p.said(), "\n")
	if out, err := with("eve", right, "exec", "web", "/bin/true"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("eve, whom another authority knows: %v %s", err, out)
	}
	if out, err := with("ann", wrong, "exec", "web", "/bin/true"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("ann, who does not know the guard: %v %s", err, out)
	}
	if out, err := ask("--tlsverify", "--tlscacert", right.file, "exec", "web", "/bin/true"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("nobody: %v %s", err, out)
	}
	if out, err := ask("exec", "web", "/bin/true"); err == nil {
		t.Errorf("without TLS: %s", out)
	}
	if said := p.said(); strings.Count(said, "\n") != before {
		t.Errorf("something was decided:\n%s", said)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.said())
	}
}

// handedOn has a process started as systemd starts it for a socket.
const handedOn = `LISTEN_FDS=1 LISTEN_PID=$$ && export LISTEN_FDS LISTEN_PID && exec "$@"`

// TestGuardBySystemd: the guard takes the socket that systemd made, knows who
// connects to it, and leaves it where it is.
func TestGuardBySystemd(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	dir := filepath.Dir(bin)
	rules, socket := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "handed.sock")
	if err := os.WriteFile(rules, []byte(guardRules), 0o600); err != nil {
		t.Fatal(err)
	}
	e.RunT(t, "--name", "web", "--label", "env=prod", docker.Image)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", handedOn, "sh", bin, "guard", "docker", "--to", e.Address, "--rules", rules, "--enforce", "--control", "off")
	cmd.ExtraFiles = []*os.File{file}
	p := startGuardAt(t, "systemd", cmd)
	if !strings.Contains(p.said(), "at "+socket) {
		t.Errorf("%s", p.said())
	}
	p.socket = socket
	if out, err := p.docker(t, e, 4321, "exec", "web", "/bin/echo", "hello"); err != nil || out != "hello\n" {
		t.Errorf("%v %s", err, out)
	}
	if out, err := p.docker(t, e, 4321, "exec", "web", "sh"); err == nil || !strings.Contains(out, "uid 4321 may not run sh in web") {
		t.Errorf("%v %s", err, out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.said())
	}
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("systemd's socket: %v", err)
	}
	// What is for another process is not taken.
	other := exec.Command(bin, "guard", "docker", "--listen", "systemd", "--to", e.Address, "--rules", rules)
	other.Env, other.ExtraFiles = append(os.Environ(), "LISTEN_FDS=1", fmt.Sprintf("LISTEN_PID=%d", os.Getpid())), []*os.File{file}
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "systemd hands on no socket") {
		t.Errorf("%v %s", err, out)
	}
}

// sshd runs a server on its two ends, on a host that has ann.
const sshd = `mount --make-rprivate / && mount --bind %[1]s/passwd /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec %[2]s -i -f %[1]s/sshd_config`

// TestGuardOverSSH: of a client that comes by SSH, the user is the one who logged
// in there, not the one of the client's machine.
func TestGuardOverSSH(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	server, err := testbed.LookPath("sshd")
	if err != nil {
		testbed.Lack(t, testbed.Docker, "program sshd is not installed (apt-get install openssh-server)")
	}
	e, bin := docker.New(t, docker.Options{}), program.New(t)
	dir := filepath.Dir(bin)
	rules := filepath.Join(dir, "rules.yaml")
	e.RunT(t, "--name", "web", docker.Image)
	cli := e.CLI(context.Background()).Path
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) {
		t.Helper()
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	key("host")
	key("ann")
	key("eve")
	socket := filepath.Join(dir, "docker.sock")
	for name, text := range map[string]string{
		"rules.yaml": "version: 1\ndefault: deny\nrules:\n  - {id: ann, when: 'session.actor.uid == 4321', effect: allow}\n",
		"passwd":     string(passwd) + fmt.Sprintf("ann:*:4321:%d::/:/bin/sh\n", docker.ClientGID),
		"sshd_config": fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/ann.pub\nStrictModes no\nUsePAM no\nPidFile none\nSetEnv DOCKER_HOST=unix://%[2]s PATH=%[3]s:/usr/bin:/bin\n",
			dir, socket, filepath.Dir(cli)),
		"ssh_config": fmt.Sprintf("Host far\n  ProxyCommand unshare -m sh -c '%s'\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n  IdentitiesOnly yes\n",
			fmt.Sprintf(sshd, dir, server)),
		"ssh": fmt.Sprintf("#!/bin/sh\nexec /usr/bin/ssh -F %[1]s/ssh_config -i %[1]s/${KEY:-ann} \"$@\"\n", dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := startGuard(t, bin, e, rules, "--enforce")
	far := func(key string, args ...string) *exec.Cmd {
		cmd := e.CLI(t.Context(), append([]string{"-H", "ssh://ann@far"}, args...)...)
		cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"), "KEY="+key)
		return cmd
	}
	if out, err := far("ann", "exec", "web", "/bin/echo", "hello").CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("%v %s", err, out)
	}
	cmd := far("ann", "exec", "-i", "web", "/bin/cat")
	cmd.Stdin = strings.NewReader("in and out\n")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "in and out\n" {
		t.Errorf("%v %s", err, out)
	}
	p.await(t, "allow  uid 4321  DK-EXEC  web  /bin/cat  rule ann")
	if out, err := far("eve", "exec", "web", "/bin/true").CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("with another's key: %v %s", err, out)
	}
	if out, err := p.docker(t, e, 0, "exec", "web", "/bin/true"); err == nil || !strings.Contains(out, "denied by default") {
		t.Errorf("beside SSH: %v %s", err, out)
	}
}
