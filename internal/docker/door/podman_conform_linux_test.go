package door_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/testbed/podman"
)

// TestPodmanConformance: what a client of Podman's own API gets to see is the same
// with the door in between as without, byte by byte but for the date.
func TestPodmanConformance(t *testing.T) {
	s := podman.Shared(t)
	d := behind(t, s, everything)
	id := s.RunT(t, "--name", "conform", podman.Image)
	const api = "/v4.3.1/libpod"
	run := func(argv, more string) func(testing.TB, string) string {
		return func(t testing.TB, socket string) string {
			made := talk(t, socket, asking("POST "+api+"/containers/conform/exec", `{"Cmd":`+argv+`,"AttachStdout":true,"AttachStderr":true`+more+`}`), false, nil)
			var v struct{ ID string }
			if err := json.Unmarshal([]byte(made.Stdout), &v); err != nil || v.ID == "" {
				t.Fatalf("%v %+v", err, made)
			}
			return v.ID
		}
	}
	start := func(exec func(testing.TB, string) string, tty bool, input string, headers ...string) func(testing.TB, string) said {
		return func(t testing.TB, socket string) said {
			return talk(t, socket, request("POST "+api+"/exec/"+exec(t, socket)+"/start", fmt.Sprintf(`{"Detach":false,"Tty":%v,"h":24,"w":80}`, tty), headers...), !tty, func(c *net.UnixConn) {
				_, _ = io.WriteString(c, input)
				_ = c.CloseWrite()
			})
		}
	}
	plain := func(line, body string, headers ...string) func(testing.TB, string) said {
		return func(t testing.TB, socket string) said {
			return talk(t, socket, asking(line, body, headers...), false, nil)
		}
	}
	image := url.PathEscape(podman.Image)
	for name, ask := range map[string]func(testing.TB, string) said{
		"output":            start(run(`["/bin/sh","-c","echo a; echo b >&2; echo c"]`, ""), false, "", upgraded, toTCP),
		"without upgrade":   start(run(`["/bin/sh","-c","echo a; echo b >&2"]`, ""), false, ""),
		"a terminal":        start(run(`["/bin/echo","hello"]`, `,"Tty":true`), true, "", upgraded, toTCP),
		"much output":       start(run(`["/bin/sh","-c","head -c 4194304 /dev/zero | tr '\\\\0' x"]`, ""), false, "", upgraded, toTCP),
		"input and its end": start(run(`["/bin/sh","-c","cat; echo end"]`, `,"AttachStdin":true`), false, strings.Repeat("0123456789abcde\n", 1<<12), upgraded, toTCP),
		"in the background": func(t testing.TB, socket string) said {
			return plain("POST "+api+"/exec/"+run(`["/bin/true"]`, "")(t, socket)+"/start", `{"Detach":true}`)(t, socket)
		},
		"attach": func(t testing.TB, socket string) said {
			c := s.RunT(t, "-i", podman.Image, "/bin/sh", "-c", "read x; echo got $x; echo bad >&2; sleep 0.3")
			return talk(t, socket, request("POST "+api+"/containers/"+c+"/attach?stream=true&stdin=true&stdout=true&stderr=true", "", upgraded, toTCP), true, func(c *net.UnixConn) {
				_, _ = io.WriteString(c, "word\n")
			})
		},
		"inspect":               plain("GET "+api+"/containers/"+id+"/exists", ""),
		"image by escaped name": plain("GET "+api+"/images/"+image+"/exists", ""),
		"image by name":         plain("GET "+api+"/images/"+podman.Image+"/json", ""),
		"no such container":     plain("POST "+api+"/containers/nobody/exec", `{"Cmd":["id"]}`),
		"no such exec":          plain("POST "+api+"/exec/"+strings.Repeat("0", 64)+"/start", `{"Detach":true}`),
		"no such image":         plain("POST "+api+"/images/pull?reference=localhost/no:1&policy=never", ""),
		"files":                 plain("GET "+api+"/containers/"+id+"/archive?path=/etc/hostname", ""), // of one chunk: where others are cut depends on the moment
		"logs":                  plain("GET "+api+"/containers/"+id+"/logs?stdout=true", ""),
		"ping":                  plain("GET "+api+"/_ping", ""),
		"start of a started":    plain("POST "+api+"/containers/"+id+"/start", ""),
		"an unknown route":      plain("GET "+api+"/nothing/here", ""),
		"no version":            plain("GET /libpod/info", ""),
	} {
		t.Run(name, func(t *testing.T) {
			direct, behind := ask(t, s.Socket), ask(t, d.socket)
			if diff := cmp.Diff(direct, behind); diff != "" {
				t.Errorf("-direct +behind the door:\n%s", diff)
			}
		})
	}
}
