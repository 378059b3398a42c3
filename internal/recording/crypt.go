package recording

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// An encrypted recording has a key of its own. age encrypts the key, once, for
// the recipients; each block is then sealed with it by AES-256-GCM. Encrypting
// each block by age itself would cost 200 bytes and a key agreement for every
// quarter of a second, and longer stretches would be lost whole when a write is
// cut off.

const keySize = 32

// newKey makes a recording's key. It returns it as recipients can read it, and
// ready for use.
func newKey(to []age.Recipient) ([]byte, cipher.AEAD, error) {
	var key [keySize]byte
	_, _ = rand.Read(key[:]) // never fails
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to...)
	if err == nil {
		_, err = w.Write(key[:])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt the recording's key: %w", err)
	}
	aead, err := newAEAD(key[:])
	return b.Bytes(), aead, err
}

// ErrKey says that a recording is encrypted for others.
var ErrKey = errors.New("the recording is encrypted")

// openKey is the inverse of newKey.
func openKey(encrypted []byte, with []age.Identity) (cipher.AEAD, error) {
	if len(with) == 0 {
		return nil, ErrKey
	}
	r, err := age.Decrypt(bytes.NewReader(encrypted), with...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, err := io.ReadAll(io.LimitReader(r, keySize+1))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%w: its key is damaged", ErrKey)
	}
	return newAEAD(key)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// sealing has room for what goes into and beside a seal.
type sealing struct {
	nonce [12]byte
	with  [blockHead - crcFrom + len(chain{})]byte
}

// prepare binds a seal to its block's head and to everything before it: a block
// moved, left out or put into another recording does not open.
func (s *sealing) prepare(k block, before *chain) {
	binary.BigEndian.PutUint64(s.nonce[4:], k.seq)
	var head [blockHead]byte
	k.putHead(head[:])
	copy(s.with[copy(s.with[:], head[crcFrom:]):], before[:])
}

// ParseRecipients reads who may read recordings: age's public keys, with blanks
// or commas between.
func ParseRecipients(text string) ([]age.Recipient, error) {
	lines := bytes.FieldsFunc([]byte(text), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
	if len(lines) == 0 {
		return nil, errors.New("no recipient: want age's public keys (age1…)")
	}
	to, err := age.ParseRecipients(bytes.NewReader(bytes.Join(lines, []byte("\n"))))
	if err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	return to, nil
}
