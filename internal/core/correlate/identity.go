package correlate

import (
	"crypto/sha256"
	"encoding/base32"

	"github.com/sallyport/sallyport/internal/core/session"
)

// idText is base32 in lower case, without the letters that read like digits.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// sessionID derives a session's id from what makes it that session.
func sessionID(parts ...string) session.ID {
	var room [512]byte
	b := append(room[:0], parts[0]...)
	for _, p := range parts[1:] {
		b = append(append(b, 0), p...)
	}
	sum := sha256.Sum256(b)
	return session.ID(idText.EncodeToString(sum[:10]))
}
