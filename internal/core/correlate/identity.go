package correlate

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/sallyport/sallyport/internal/core/session"
)

// idText is base32 in lower case, without the letters that read like digits.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// sessionID derives a session's id from what makes it that session.
func sessionID(parts ...string) session.ID {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return session.ID(idText.EncodeToString(sum[:10]))
}
