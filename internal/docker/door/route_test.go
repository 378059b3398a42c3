package door

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
)

func TestRead(t *testing.T) {
	for line, want := range map[string]struct {
		channel event.Channel
		name    string
		refused string
	}{
		"POST /containers/create":                        {event.ChannelDockerRun, "", ""},
		"POST /v1.41/containers/create?name=x":           {event.ChannelDockerRun, "", ""},
		"POST /v1.41/containers/create/exec":             {event.ChannelDockerExec, "create", ""},
		"POST /v1.41/containers/exec/start":              {event.ChannelDockerStart, "exec", ""},
		"POST /exec/abc/start":                           {event.ChannelDockerExec, "abc", ""},
		"POST /exec/abc/resize?h=1&w=2":                  {event.ChannelDockerRead, "abc", ""},
		"GET /containers/a/attach/ws":                    {event.ChannelDockerAttachWS, "a", ""},
		"GET /containers/a/archive?path=/":               {event.ChannelDockerArchive, "a", ""},
		"HEAD /containers/a/archive?path=/":              {event.ChannelDockerRead, "a", ""},
		"GET /containers/a/export":                       {event.ChannelDockerArchive, "a", ""},
		"GET /containers/json":                           {event.ChannelDockerRead, "", ""},
		"GET /containers/json/json":                      {event.ChannelDockerRead, "json", ""},
		"GET /images/a/b:1@sha256:00/json":               {event.ChannelDockerRead, "a/b:1@sha256:00", ""},
		"GET /images/a%40sha256:00/json":                 {event.ChannelDockerRead, "a@sha256:00", ""},
		"POST /images/create/tag?repo=x":                 {event.ChannelDockerImage, "create", ""},
		"POST /images/create?fromImage=x":                {event.ChannelDockerImage, "", ""},
		"POST /images/load":                              {event.ChannelDockerImage, "", ""},
		"POST /plugins/a/b/enable":                       {event.ChannelDockerPlugin, "a/b", ""},
		"POST /session":                                  {event.ChannelDockerBuild, "", ""},
		"POST /grpc":                                     {event.ChannelDockerBuild, "", ""},
		"DELETE /containers/a/checkpoints/b":             {event.ChannelDockerAPI, "a", ""},
		"DELETE /containers/a":                           {event.ChannelDockerAPI, "a", ""},
		"GET /swarm/unlockkey":                           {event.ChannelDockerSwarm, "", ""},
		"POST /authx":                                    {event.ChannelUnknown, "", ""},
		"GET /debug/pprof/":                              {event.ChannelUnknown, "", "clean"},
		"GET /debug/vars":                                {event.ChannelUnknown, "", ""},
		"POST /libpod/containers/create":                 {event.ChannelDockerRun, "", ""},
		"POST /v4.3.1/libpod/containers/create":          {event.ChannelDockerRun, "", ""},
		"POST /v5.0/libpod/containers/create":            {event.ChannelDockerRun, "", ""},
		"POST /v4.4.0-dev/libpod/containers/create":      {event.ChannelDockerRun, "", ""},
		"POST /v4/libpod/containers/create":              {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1-/libpod/containers/create":         {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1.1/libpod/containers/create":        {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1/Libpod/containers/create":          {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1/libpod":                            {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1/containers/create":                 {event.ChannelUnknown, "", "version"},
		"POST /v4.3.1/libpod/Containers/create":          {event.ChannelUnknown, "", ""},
		"POST /v4.3.1/libpod//containers/create":         {event.ChannelUnknown, "", "clean"},
		"POST /v4.3.1/libpod/../containers/create":       {event.ChannelUnknown, "", "clean"},
		"POST /v4.3.1/libpod%2Fcontainers/create":        {event.ChannelUnknown, "", "slash"},
		"POST /v4.3.1/libpod/containers/a%2Fexec":        {event.ChannelUnknown, "", "slash"},
		"POST /v4.3.1/libpod/containers/a/exec":          {event.ChannelDockerExec, "a", ""},
		"POST /v4.3.1/libpod/exec/a/start":               {event.ChannelDockerExec, "a", ""},
		"POST /v4.3.1/libpod/containers/a/init":          {event.ChannelDockerStart, "a", ""},
		"POST /v4.3.1/libpod/containers/a/restore":       {event.ChannelDockerCkpt, "a", ""},
		"GET /v4.3.1/libpod/containers/a/healthcheck":    {event.ChannelDockerHealth, "a", ""},
		"GET /v4.3.1/libpod/containers/a/json?Name=x":    {event.ChannelUnknown, "", "may read as"},
		"POST /v4.3.1/libpod/play/kube":                  {event.ChannelPodmanAPI, "", ""},
		"POST /v4.3.1/libpod/pods/a/start":               {event.ChannelPodmanAPI, "a", ""},
		"POST /v4.3.1/libpod/secrets/create?name=a":      {event.ChannelDockerSwarm, "", ""},
		"POST /v4.3.1/libpod/images/scp/a%3A%3Ab":        {event.ChannelUnknown, "", ""},
		"GET /v4.3.1/libpod/images/a%2Fb%3A1/json":       {event.ChannelDockerRead, "a/b:1", ""},
		"GET /v4.3.1/libpod/images/a%2Fjson":             {event.ChannelDockerRead, "a", ""},
		"GET /images/a%2Fb/json":                         {event.ChannelUnknown, "", "slash"},
		"POST /v4.3.1/libpod/nothing%2Fhere":             {event.ChannelUnknown, "", "slash"},
		"GET /libpod/_ping":                              {event.ChannelDockerRead, "", ""},
		"POST /v1.41":                                    {event.ChannelUnknown, "", "version"},
		"POST /v1/containers/create":                     {event.ChannelUnknown, "", "version"},
		"POST /v1.2.3/containers/create":                 {event.ChannelUnknown, "", "version"},
		"POST /v1.41/v1.41/containers/create":            {event.ChannelUnknown, "", ""},
		"POST /containers/a/b/exec":                      {event.ChannelUnknown, "", ""},
		"POST /containers/a%2fb/exec":                    {event.ChannelUnknown, "", "slash"},
		"POST /containers//exec":                         {event.ChannelUnknown, "", "clean"},
		"POST /containers/../exec":                       {event.ChannelUnknown, "", "clean"},
		"POST /containers/%2e%2e/exec":                   {event.ChannelUnknown, "", "clean"},
		"POST /containers/a%00/exec":                     {event.ChannelUnknown, "", "it has"},
		"POST /containers/a%20b/exec":                    {event.ChannelUnknown, "", "it has"},
		"POST /containers/a%25b/exec":                    {event.ChannelUnknown, "", "it has"},
		"POST /containers/-a/exec":                       {event.ChannelUnknown, "", "no name"},
		"POST /containers/a:b/exec":                      {event.ChannelUnknown, "", "no name"},
		"POST /containers/a/exec?x=1&x=2":                {event.ChannelUnknown, "", "twice"},
		"POST /containers/a/exec?x=%zz":                  {event.ChannelUnknown, "", "query"},
		"PUT /containers/a/archive?path=/a&path=/b":      {event.ChannelUnknown, "", "twice"},
		"POST /commit?container=a&changes=CMD&changes=E": {event.ChannelDockerCommit, "", ""},
		"OPTIONS /containers/json":                       {event.ChannelUnknown, "", ""},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rt, _, name, _, err := read(r)
		switch {
		case want.refused != "" && (err == nil || !strings.Contains(err.Error(), want.refused)):
			t.Errorf("%s: %v, want %q", line, err, want.refused)
		case want.refused == "" && (err != nil || rt.channel != want.channel || name != want.name):
			t.Errorf("%s: %s %q, %v", line, rt.channel, name, err)
		}
	}
}

// TestChannels: every route's channel is in the catalogue.
func TestChannels(t *testing.T) {
	known := map[event.Channel]bool{}
	for _, c := range attack.Channels() {
		known[c.ID] = true
	}
	n := 0
	for _, list := range routes {
		for _, r := range list {
			n++
			if !known[r.channel] {
				t.Errorf("%s %s*%s: %s", r.method, r.before, r.after, r.channel)
			}
		}
	}
	if n < 110 {
		t.Errorf("only %d routes", n)
	}
}

// FuzzPlace: what is accepted is forwarded as what was read, and no router has
// anything to clean or decode in it.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"/v1.41/containers/a/exec?x=y", "/a%2fb", "/v1.41/%65xec", "//a", "/a/../b", "/a;b", "/%zz", "/a%25", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.ParseRequestURI(s)
		if err != nil {
			return
		}
		p, err := placeOf(u)
		if err != nil {
			return
		}
		sent := (&url.URL{Path: p.String()}).RequestURI()
		again, err := url.ParseRequestURI(sent)
		if err != nil || again.Path != u.Path || again.RawPath != "" || path.Clean(again.Path) != again.Path || strings.ContainsAny(sent, "%\\?#;") {
			t.Fatalf("%q is read as %+v and sent as %q (%v)", s, p, sent, err)
		}
	})
}
