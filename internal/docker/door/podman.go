package door

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/sallyport/sallyport/internal/core/session"
)

// asksMax bounds how many containers are asked for because of one request.
const asksMax = 32

// follows adds what Podman starts together with a container: those that it depends
// on, and that do not run.
func (p *Proxy) follows(ctx context.Context, s *session.Session) error {
	seen := map[string]bool{string(s.Target.ContainerID): true}
	for next := []string{string(s.Target.ContainerID)}; len(next) > 0; next = next[1:] {
		needed, err := p.daemon.dependencies(ctx, next[0])
		if err != nil {
			return err
		}
		for _, id := range needed {
			if seen[id] {
				continue
			}
			if seen[id] = true; len(seen) > asksMax {
				return misread(http.StatusBadRequest, fmt.Errorf("more than %d containers would be started with it", asksMax))
			}
			c, err := p.container(ctx, id)
			if err != nil {
				return err
			}
			if c.InitPID != 0 {
				continue
			}
			s.Carried = append(s.Carried, session.Carried{Place: session.PlaceCommand, Container: c.Name, Argv: c.Argv})
			s.Target.HostAccess = s.Target.HostAccess.With(c.HostAccess)
			next = append(next, id)
		}
	}
	return nil
}

// asPodman refuses what Podman reads otherwise than Docker does of Docker's own
// request for a container: it makes a command line of it, and reads that (podman,
// pkg/api/handlers/compat, cliOpts). It adds the paths that Docker has no like of.
func (p *Proxy) asPodman(s *session.Session, body *container.CreateRequest) error {
	// One entrypoint that is a list in JSON is taken for the list, none for the image's.
	if e := body.Entrypoint; len(e) == 1 && readsAsList(e[0]) {
		return fmt.Errorf("the entrypoint %q is read as a list", e[0])
	}
	if h := body.Healthcheck; h != nil && len(h.Test) > 0 {
		if k := h.Test[0]; k != "NONE" && k != "CMD" && k != "CMD-SHELL" {
			return fmt.Errorf("the health check begins with %q, not with NONE, CMD or CMD-SHELL", k)
		}
	}
	for v := range body.Volumes {
		if !strings.HasPrefix(v, "/") || strings.Contains(v, ":") {
			return fmt.Errorf("the volume %q is read as a bind", v)
		}
	}
	h := body.HostConfig
	if h == nil {
		return nil
	}
	access := s.Target.HostAccess
	for i := range h.Mounts {
		if err := oddMount(&h.Mounts[i]); err != nil {
			return err
		}
	}
	for _, b := range h.Binds {
		source, rest, _ := strings.Cut(b, ":")
		if strings.HasPrefix(source, ".") || strings.Contains(source, `\`) {
			return relative(source)
		}
		_, options, _ := strings.Cut(rest, ":")
		p.paths(access, layers([]string{options})...)
	}
	for _, d := range h.Devices {
		if strings.Contains(d.PathOnHost, ":") {
			return fmt.Errorf("the device %q has a colon", d.PathOnHost)
		}
	}
	for name, value := range h.LogConfig.Config {
		if strings.Contains(name, "=") {
			return fmt.Errorf("the option %q of the log has two names", name)
		}
		if strings.EqualFold(name, "path") {
			p.paths(access, path.Clean(value))
		}
	}
	for name := range h.Annotations {
		if !harmlessAnnotations[name] {
			return fmt.Errorf("the annotation %q may be one that the runtime acts upon", name)
		}
	}
	return nil
}

// oddMount says why Podman would make another mount of it, or none that is known.
func oddMount(m *mount.Mount) error {
	texts := []string{m.Source, m.Target, string(m.Consistency)}
	if m.BindOptions != nil {
		texts = append(texts, string(m.BindOptions.Propagation))
	}
	for _, text := range texts {
		if strings.ContainsAny(text, ",\"\r\n") {
			return fmt.Errorf("the mount's %q has a comma, a quotation mark or a line's end", text)
		}
	}
	switch m.Type {
	case "bind":
		if !strings.HasPrefix(m.Source, "/") {
			return relative(m.Source)
		}
	case "volume", "tmpfs", "image":
	default:
		return fmt.Errorf("what a mount of type %q gives is not known", m.Type)
	}
	return nil
}

// podmanHealth returns the command of a health check as Podman executes it (podman,
// libpod/healthcheck.go): by /bin/sh whatever the image's shell is, and what begins
// with no keyword as it stands.
func podmanHealth(test []string) []string {
	if len(test) == 0 {
		return nil
	}
	switch test[0] {
	case "", "NONE":
		return nil
	case "CMD":
		return test[1:]
	case "CMD-SHELL":
		return []string{"/bin/sh", "-c", strings.Join(test[1:], " ")}
	}
	return test
}

// readsAsList reports whether Podman reads the text of one entrypoint as JSON.
func readsAsList(text string) bool {
	t := strings.TrimSpace(text)
	return json.Valid([]byte(text)) && (t == "null" || strings.HasPrefix(t, "["))
}

// composed returns a health check as Podman splits it again that has put its words
// into one text.
func composed(test []string) []string {
	if test[0] != "CMD" {
		return test
	}
	return strings.Fields(strings.Join(test, " "))
}
