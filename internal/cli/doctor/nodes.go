package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/watch"
)

// checkNode looks at what a node needs to send what it sees; nothing where the
// configuration makes it none.
func (x *exam) checkNode(ctx context.Context) []diagnosis {
	if x.conf.NodeCollector == "" {
		return nil
	}
	files := link.Files{Cert: x.conf.NodeCert, Key: x.conf.NodeKey, CA: x.conf.NodeCA}
	secure, err := files.Client()
	if err != nil {
		return one(diagnosis{
			Check: "node certificate", Grade: gradeMissing, Found: err.Error(), Effect: "the node cannot send what it sees",
			Remedy: []string{"give --node-cert, --node-key and --collector-ca; for a trial: sallyport node certs -o DIR --node NAME"},
		})
	}
	return append(one(x.nodeCertificate(secure)), append(x.collectorAnswers(ctx, secure), x.spool(), x.linked())...)
}

// nodeCertificate looks at the certificate by which the collector knows the node.
func (x *exam) nodeCertificate(secure *tls.Config) diagnosis {
	const renew = "make a new one, for a trial: sallyport node certs -o DIR --node NAME"
	d := diagnosis{Check: "node certificate", Grade: gradeOK}
	leaf := secure.Certificates[0].Leaf
	name, err := link.NameOf(leaf)
	if err == nil && x.conf.NodeName != "" && name != x.conf.NodeName {
		err = fmt.Errorf("certificate is that of %q, not of %q", name, x.conf.NodeName)
	}
	if err != nil {
		d.Grade, d.Found, d.Remedy = gradeMissing, x.conf.NodeCert+": "+err.Error(), []string{renew}
		return d
	}
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		d.Grade, d.Found, d.Remedy = gradeMissing, x.conf.NodeCert+" is not for client authentication", []string{renew}
		return d
	}
	d.Found = fmt.Sprintf("node %q", name)
	return lasting(d, leaf, x.now(), renew)
}

// refusalWait is how long a collector that does not like a certificate may take
// to say so: with TLS 1.3 the node's side is through before.
const refusalWait = 500 * time.Millisecond

// collectorAnswers connects to the collector and says nothing, so that a node
// that runs with the same certificate is not pushed off.
func (x *exam) collectorAnswers(ctx context.Context, secure *tls.Config) []diagnosis {
	d := diagnosis{Check: "collector", Grade: gradeMissing, Effect: "observations wait on this node's disk"}
	conn, err := (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", x.conf.NodeCollector)
	if err == nil {
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(refusalWait))
		if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
			return one(lasting(diagnosis{Check: "collector", Grade: gradeOK, Found: x.conf.NodeCollector + " answers and takes this node's certificate; its own"}, leaf, x.now(),
				"make the collector a new certificate, for a trial: sallyport node certs -o DIR --collector NAME"))
		}
		d.Found = "the collector does not take this node's certificate"
		if err != nil {
			d.Found += ": " + err.Error()
		}
		d.Remedy = []string{"give the node a certificate of the authority that the collector was given with --collect-ca"}
		return one(d)
	}
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	d.Found = err.Error()
	switch {
	case errors.As(err, &name):
		d.Remedy = []string{"write the collector as its certificate names it, or for a trial: sallyport node certs -o DIR --collector NAME"}
	case errors.As(err, &unknown):
		d.Remedy = []string{"give the authority of the collector's certificate with --collector-ca"}
	case errors.As(err, &invalid):
		d.Remedy = []string{"make the collector a new certificate, or look at this host's clock: timedatectl"}
	default:
		d.Remedy = []string{"start the collector: sallyport up --collect ADDR …", "open the way to it: nc -vz HOST PORT"}
	}
	return one(d)
}

// spool looks at the directory in which observations wait for the collector.
func (x *exam) spool() diagnosis {
	path := filepath.Join(x.conf.State, statedir.Spool)
	facts, err := x.dir(path)
	d := diagnosis{Check: "spool", Grade: gradeOK}
	used := uint64(statedir.Size(path))
	switch {
	case err != nil:
		d.Grade, d.Found, d.Remedy = gradeMissing, err.Error(), []string{"sudo install -d -m 0700 " + x.conf.State}
	case !facts.Writable:
		d.Grade, d.Found, d.Effect = gradeMissing, path+" cannot be written by this user", "the node cannot keep what the collector has not got"
		d.Remedy = []string{"sudo install -d -m 0700 " + path, "or use another: sallyport up --state DIR"}
	case facts.Free+used < uint64(x.conf.NodeSpool):
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("%s may grow to %d MB, and its disk has %d MB free", path, x.conf.NodeSpool>>20, facts.Free>>20)
		d.Effect, d.Remedy = "when the disk is full, what comes then is lost", []string{"--node-spool SIZE, or another disk: --state DIR"}
	default:
		d.Found = fmt.Sprintf("%s holds %d MB and may grow to %d MB; %d MB free", path, used>>20, x.conf.NodeSpool>>20, facts.Free>>20)
	}
	return d
}

// clockMax is by how much a clock may be off before the times in the records mislead.
const clockMax = time.Minute

// linked reports how the running node does.
func (x *exam) linked() diagnosis {
	s, err := x.running()
	d := diagnosis{Check: "link", Grade: gradeNote}
	if err != nil || s == nil || s.Link == nil {
		d.Found = "sallyport up --node does not run on " + x.conf.State
		if err != nil {
			d.Found = err.Error()
		}
		d.Remedy = []string{"start it, and ask again"}
		return d
	}
	l := s.Link
	d.Grade, d.Found = gradeOK, fmt.Sprintf("linked for %s, %d observations wait", wording.Duration(x.now().Sub(l.Since)), l.Waiting)
	if l.AheadNS != nil {
		d.Found += fmt.Sprintf("; this clock is ahead of the collector's by %s at most", time.Duration(*l.AheadNS).Round(time.Millisecond))
	}
	switch {
	case l.SpoolError != "":
		d.Grade, d.Found, d.Effect = gradeMissing, "the spool takes nothing: "+l.SpoolError, "what is seen now is lost"
		d.Remedy = []string{"df -h " + x.conf.State}
	case !l.Connected:
		d.Grade, d.Found, d.Effect = gradeDegraded, fmt.Sprintf("no link since %s: %s; %d observations wait", l.Since.Format(time.DateTime), l.Reason, l.Waiting), "the collector takes this node for blind meanwhile"
		d.Remedy = []string{"see what is said of the collector above"}
	case l.Lost > 0:
		d.Grade, d.Effect = gradeDegraded, fmt.Sprintf("%d observations had to go from the spool; the collector knows", l.Lost)
		d.Remedy = []string{"--node-spool SIZE"}
	case l.AheadNS != nil && time.Duration(*l.AheadNS).Abs() > clockMax:
		d.Grade, d.Effect = gradeDegraded, "the collector reckons with it; whoever reads the times in the records is misled"
		d.Remedy = []string{"sudo timedatectl set-ntp true"}
	}
	return d
}

// running returns the status of the up that runs here, nil when none does.
func (x *exam) running() (*watch.Status, error) {
	if x.status == nil {
		return nil, nil
	}
	return x.status()
}

// checkCollector looks at what a collector needs, and at its nodes; nothing
// where the configuration makes it none.
func (x *exam) checkCollector(ctx context.Context) []diagnosis {
	if x.conf.CollectListen == "" {
		return nil
	}
	const renew = "make a new one, for a trial: sallyport node certs -o DIR --collector NAME"
	secure, err := link.Files{Cert: x.conf.CollectCert, Key: x.conf.CollectKey, CA: x.conf.CollectCA}.Server()
	if err != nil {
		return one(diagnosis{
			Check: "collector certificate", Grade: gradeMissing, Found: err.Error(), Effect: "no node can send",
			Remedy: []string{"give --collect-cert, --collect-key and --collect-ca; for a trial: sallyport node certs -o DIR --collector NAME"},
		})
	}
	leaf := secure.Certificates[0].Leaf
	d := diagnosis{Check: "collector certificate", Grade: gradeOK, Found: fmt.Sprintf("for %v", append(slices.Clone(leaf.DNSNames), addresses(leaf)...))}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		d.Grade, d.Found, d.Remedy = gradeMissing, x.conf.CollectCert+" is for no host: no node believes it", []string{renew}
		return one(d)
	}
	out := one(lasting(d, leaf, x.now(), renew))
	s, err := x.running()
	if err != nil {
		return append(out, diagnosis{Check: "nodes", Grade: gradeDegraded, Found: err.Error(), Remedy: []string{"look at what sallyport up says"}})
	}
	if s == nil {
		return append(out, canListen(ctx, x.conf.CollectListen))
	}
	return append(out, x.nodes(s)...)
}

func addresses(leaf *x509.Certificate) (out []string) {
	for _, ip := range leaf.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

// canListen tries whether an address is free.
func canListen(ctx context.Context, address string) diagnosis {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return diagnosis{Check: "collector", Grade: gradeMissing, Found: err.Error(), Effect: "no node can send", Remedy: []string{"another address with --collect, or see who has it: ss -ltnp"}}
	}
	_ = l.Close()
	return diagnosis{Check: "collector", Grade: gradeNote, Found: address + " is free; sallyport up --collect does not run here", Remedy: []string{"start it, and ask again"}}
}

// nodes reports how the nodes of the running collector are.
func (x *exam) nodes(s *watch.Status) []diagnosis {
	if len(s.Nodes) == 0 {
		return one(diagnosis{Check: "nodes", Grade: gradeNote, Found: "none has come yet", Remedy: []string{"on each node: sallyport doctor --node ADDR --node-cert FILE --node-key FILE --collector-ca FILE"}})
	}
	out := make([]diagnosis, len(s.Nodes))
	for i := range s.Nodes {
		out[i] = x.node(&s.Nodes[i])
	}
	return out
}

func (x *exam) node(n *watch.NodeStatus) diagnosis {
	d := diagnosis{Check: "node " + n.Name, Grade: gradeOK, Found: "linked from " + n.Address}
	var offset time.Duration
	if n.ClockOffsetNS != nil {
		offset = time.Duration(*n.ClockOffsetNS)
		d.Found += fmt.Sprintf("; its clock is off by %s ± %s", offset.Round(100*time.Microsecond), time.Duration(*n.ClockErrorNS).Round(100*time.Microsecond))
	}
	switch {
	case !n.Connected:
		d.Grade, d.Found, d.Effect = gradeDegraded, "gone since "+n.Since.Format(time.DateTime), "what happens there is not known until it is back"
		d.Remedy = []string{"on that node: sallyport doctor --node ADDR --node-cert FILE --node-key FILE --collector-ca FILE"}
	case n.Foreign > 0:
		d.Grade, d.Effect = gradeDegraded, fmt.Sprintf("it told %d things that are not a node's to tell; they were not believed", n.Foreign)
		d.Remedy = []string{"look at that node: its sallyport is not one that you set up, or an old one"}
	case offset.Abs() > clockMax:
		d.Grade, d.Effect = gradeDegraded, "that is reckoned with; whoever reads the times in the records is misled"
		d.Remedy = []string{"on that node: sudo timedatectl set-ntp true"}
	case slices.ContainsFunc(n.Witnesses, func(w watch.WitnessStatus) bool { return !w.Up }):
		for _, w := range n.Witnesses {
			if !w.Up {
				d.Grade, d.Effect = gradeDegraded, fmt.Sprintf("its witness %s does not see: %s", w.Name, w.Reason)
			}
		}
		d.Remedy = []string{"on that node: sallyport doctor"}
	}
	return d
}
