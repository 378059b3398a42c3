package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// ExportFlags adds the flags that say where sessions and findings are sent.
func ExportFlags(f *pflag.FlagSet) {
	f.String("export", "", "send sessions and findings to `URLS`, with blanks between: FORMAT+URL, with jsonl, falco, ocsf, ecs, otlp or webhook over http(s), or syslog+tls://HOST:PORT")
	f.String("export-records", "", "send `WHICH` records: all, or findings alone (default all)")
	f.String("export-from", "", "`WHERE` a new export begins: now, or at the beginning of what is kept (default now)")
	f.String("export-queue", "", "let up to `SIZE` wait on disk for each receiver (default 256MiB)")
	f.String("export-ca", "", "`FILE` with the authority of the receivers' certificates (default: the system's)")
	f.String("export-cert", "", "certificate `FILE` to show to receivers")
	f.String("export-key", "", "private key `FILE` of the certificate")
	f.String("export-token-file", "", "`FILE` with a token for Authorization: Bearer")
	f.String("export-secret-file", "", "`FILE` with the secret that webhook+ signs with")
	f.String("export-redact", "", "further endings of `NAMES` whose values are secrets, with commas between")
}

// Target is a FORMAT+URL taken apart.
type Target struct {
	Format string
	URL    *url.URL
}

// ParseTarget reads a FORMAT+URL.
func ParseTarget(text string) (Target, error) {
	format, rest, _ := strings.Cut(text, "+")
	u, err := url.Parse(rest)
	switch {
	case err != nil || u.Host == "":
		return Target{}, errors.New("want FORMAT+URL, such as falco+http://127.0.0.1:2801/")
	case u.User != nil:
		return Target{}, errors.New("a URL with a password does not belong into a command line: use the token file")
	case format == "syslog" && u.Scheme == "tls" && u.Port() != "" && strings.Trim(u.Path, "/") == "":
	case slices.Contains([]string{"jsonl", "falco", "ocsf", "ecs", "otlp", "webhook"}, format) && (u.Scheme == "http" || u.Scheme == "https"):
	default:
		return Target{}, errors.New("want jsonl, falco, ocsf, ecs, otlp or webhook, + and a URL of http or https; or syslog+tls://HOST:PORT")
	}
	return Target{format, u}, nil
}

// Name tells exports apart in log, figures and the state directory: the format,
// the host, and a hash of the whole, which may hold what is nobody's business.
func (t Target) Name() string {
	sum := sha256.Sum256([]byte(t.URL.String()))
	host := strings.NewReplacer(":", "_", "[", "", "]", "", "/", "_").Replace(t.URL.Host)
	return t.Format + "-" + host + "-" + hex.EncodeToString(sum[:3])
}
