package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint bounds what ParseCheckpoint reads, in bytes.
const maxCheckpoint = 4096

// Checkpoint states the size and the root of a tree at a time. Signed, it is a
// note whose text has four lines: name of the ledger, size, root in base64,
// time in RFC 3339. Up to the third line it is the checkpoint format of
// transparency logs (c2sp.org/tlog-checkpoint); the fourth is an extension line.
type Checkpoint struct {
	Ledger string // the name in the key that signs it
	Size   int64
	Root   Hash
	Time   time.Time
}

// GenerateKey makes the key of a new ledger under a random name. The private
// key signs; the public one is for everybody who verifies.
func GenerateKey() (private, public string, err error) {
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", "", fmt.Errorf("generate ledger key: %w", err)
	}
	return note.GenerateKey(rand.Reader, "sallyport-ledger-"+hex.EncodeToString(id[:]))
}

// Sign returns the signed form of c.
func Sign(c Checkpoint, key note.Signer) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n%s\n", key.Name(), c.Size, c.Root, c.Time.UTC().Format(time.RFC3339Nano))
	signed, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

// ErrSigner says that a checkpoint is signed by another ledger.
var ErrSigner = errors.New("not signed by")

// ParseCheckpoint verifies a signed checkpoint and returns what it states.
func ParseCheckpoint(signed []byte, key note.Verifier) (Checkpoint, error) {
	if len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("checkpoint: longer than %d bytes", maxCheckpoint)
	}
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return Checkpoint{}, fmt.Errorf("checkpoint: %w %s", ErrSigner, key.Name())
		}
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return parseText(n.Text, key.Name())
}

func parseText(text, name string) (Checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 4 || lines[0] != name {
		return Checkpoint{}, fmt.Errorf("checkpoint: the text is not that of a checkpoint of %s", name)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: %q is no size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: root: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, lines[3])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: time: %w", err)
	}
	return Checkpoint{Ledger: name, Size: size, Root: root, Time: at}, nil
}
