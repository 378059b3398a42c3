package cli

import (
	"errors"
	"net"

	"github.com/spf13/pflag"
)

// roleFlags adds the flags that say what part this host plays among several.
func roleFlags(f *pflag.FlagSet) {
	f.String("node", "", "send observations to the collector at `ADDR` (host:port) and keep no sessions here")
	f.String("node-cert", "", "certificate `FILE` of this node")
	f.String("node-key", "", "private key `FILE` of this node")
	f.String("collector-ca", "", "`FILE` with the authority of the collector's certificate")
	f.String("node-name", "", "refuse to start unless the certificate is that of `NAME`")
	f.String("node-spool", "", "let up to `SIZE` wait on disk for the collector (default 1GiB)")
	f.String("collect", "", "take the observations of nodes at `ADDR` (host:port)")
	f.String("collect-cert", "", "certificate `FILE` of this collector")
	f.String("collect-key", "", "private key `FILE` of this collector")
	f.String("collect-ca", "", "`FILE` with the authority of the nodes' certificates")
}

func setAddress(to *string, v string) error {
	*to = v
	if _, _, err := net.SplitHostPort(v); err != nil {
		return errors.New("want HOST:PORT")
	}
	return nil
}
