package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Window is how far a receiver should let the time of a signature be from its
// own: what is older may be a replay.
const Window = 5 * time.Minute

// Secret signs requests as Standard Webhooks 1.0 has it, with HMAC-SHA256: the
// headers webhook-id, webhook-timestamp (Unix seconds) and webhook-signature
// ("v1," and base64), over "id.timestamp.body". Libraries for receivers exist in
// many languages.
//
// The id is derived from the body, so a body that is sent again has the same one.
// The timestamp is that of the attempt.
type Secret struct{ key []byte }

// NewSecret reads a secret: "whsec_" and base64, or any other text as it is. It
// must have 24 bytes at least.
func NewSecret(text string) (*Secret, error) {
	text = strings.TrimSpace(text)
	key := []byte(text)
	if enc, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(enc); err != nil {
			return nil, errors.New("webhook secret: want base64 behind whsec_")
		}
	}
	if len(key) < 24 {
		return nil, errors.New("webhook secret: want at least 24 bytes")
	}
	return &Secret{key}, nil
}

// Sign adds the headers for a body.
func (s *Secret) Sign(h http.Header, body []byte, now time.Time) {
	sum := sha256.Sum256(body)
	id := "msg_" + hex.EncodeToString(sum[:16])
	at := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", "v1,"+s.signature(id, at, body))
}

func (s *Secret) signature(id, at string, body []byte) string {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(id + "." + at + "."))
	m.Write(body)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}
