package door_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkUnary is a call on one connection: to the stand-in itself, by way of
// the door, and one about which the rules are asked.
func BenchmarkUnary(b *testing.B) {
	direct, behind := standIn(b), standInDoor(b)
	for _, c := range []struct{ name, socket, raw string }{
		{"direct", direct, request("GET /_ping", "")},
		{"door", behind, request("GET /_ping", "")},
		{"judged direct", direct, request("POST /containers/box/stop", "")},
		{"judged", behind, request("POST /containers/box/stop", "")},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := net.Dial("unix", c.socket)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			br := bufio.NewReader(conn)
			for b.Loop() {
				if _, err := io.WriteString(conn, c.raw); err != nil {
					b.Fatal(err)
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
			}
		})
	}
}

// BenchmarkKeystroke is a byte there and back in a session.
func BenchmarkKeystroke(b *testing.B) {
	for name, socket := range map[string]string{"direct": standIn(b), "door": standInDoor(b)} {
		b.Run(name, func(b *testing.B) {
			c := stream(b, socket)
			defer c.Close()
			buf := make([]byte, 1)
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStream is bytes through a session and back.
func BenchmarkStream(b *testing.B) {
	piece := []byte(strings.Repeat("x", 1<<20))
	for name, socket := range map[string]string{"direct": standIn(b), "door": standInDoor(b)} {
		b.Run(name, func(b *testing.B) {
			c := stream(b, socket)
			defer c.Close()
			b.SetBytes(int64(len(piece)))
			buf := make([]byte, len(piece))
			for b.Loop() {
				done := make(chan error, 1)
				go func() { _, err := io.ReadFull(c, buf); done <- err }()
				if _, err := c.Write(piece); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
