package listening

import (
	"net"
	"os"
	"slices"
	"testing"
)

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:0948":                         "127.0.0.1:2376",
		"00000000:0947":                         "0.0.0.0:2375",
		"00000000000000000000000001000000:0948": "[::1]:2376",
		"00000000000000000000000000000000:0948": "[::]:2376",
	} {
		if got, ok := address(in); !ok || got.String() != want {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "0100007F", "zz:1", "01:1", "0100007F:12345"} {
		if got, ok := address(in); ok {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// TestTCP finds a listener of this very process.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := TCP(uint32(os.Getpid()))
	if os.IsNotExist(err) {
		t.Skip("no /proc here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := l.Addr().(*net.TCPAddr).AddrPort(); !slices.Contains(got, want) {
		t.Errorf("%v, want %s among them", got, want)
	}
}
