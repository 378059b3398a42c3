package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// The reference is the library's own tree, which reads every hash from storage.
func TestTreeAgreesWithTlog(t *testing.T) {
	var tree Tree
	var stored []Hash
	var perRecord [][]Hash
	reader := tlog.HashReaderFunc(func(idx []int64) ([]Hash, error) {
		out := make([]Hash, len(idx))
		for i, x := range idx {
			out[i] = stored[x]
		}
		return out, nil
	})
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && tree.Root() != want {
			t.Fatalf("root of %d records = %v, want %v", n, tree.Root(), want)
		}
		content := fmt.Appendf(nil, "record %d", n)
		hashes, err := tlog.StoredHashes(n, content, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := append([]Hash(nil), tree.Append(Leaf(content))...)
		if fmt.Sprint(got) != fmt.Sprint(hashes) {
			t.Fatalf("hashes of record %d = %v, want %v", n, got, hashes)
		}
		stored = append(stored, hashes...)
		perRecord = append(perRecord, got)

		back, err := Restore(tree.Size(), func(r int64) ([]Hash, error) { return perRecord[r], nil })
		if err != nil {
			t.Fatal(err)
		}
		if back.Root() != tree.Root() {
			t.Fatalf("restored root of %d records differs", tree.Size())
		}
	}
}

func keys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestCheckpointRoundTrip(t *testing.T) {
	signer, verifier := keys(t)
	rapid.Check(t, func(t *rapid.T) {
		c := Checkpoint{
			Ledger: signer.Name(),
			Size:   rapid.Int64Min(0).Draw(t, "size"),
			Root:   Leaf(rapid.SliceOf(rapid.Byte()).Draw(t, "content")),
			Time:   time.Unix(0, rapid.Int64().Draw(t, "time")).UTC(),
		}
		signed, err := Sign(c, signer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseCheckpoint(signed, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if got != c {
			t.Fatalf("got %+v, want %+v", got, c)
		}
	})
}

func TestCheckpointRefusesForeignAndChanged(t *testing.T) {
	signer, verifier := keys(t)
	_, other := keys(t)
	signed, err := Sign(Checkpoint{Size: 7}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCheckpoint(signed, other); err == nil || !strings.Contains(err.Error(), "not signed by") {
		t.Errorf("foreign key: %v", err)
	}
	changed := strings.Replace(string(signed), "\n7\n", "\n8\n", 1)
	if _, err := ParseCheckpoint([]byte(changed), verifier); err == nil {
		t.Error("a changed size passes")
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	signer, verifier := keys(f)
	signed, err := Sign(Checkpoint{Size: 7}, signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte("a\n1\nb\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCheckpoint(b, verifier); err == nil && c.Size != 7 {
			t.Errorf("accepted a checkpoint that nobody signed: %+v", c)
		}
		_, _ = parseText(string(b), verifier.Name())
	})
}
