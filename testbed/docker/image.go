//go:build linux

package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/testbed"
)

// The images every engine has.
const (
	// Image holds static busybox with its applets as symbolic links in /bin,
	// and /bin/actor (see testbed/actor). It sleeps by default.
	Image = "sallyport.test/box:1"
	// HealthImage is Image with a health check, /bin/busybox true, every second.
	HealthImage = "sallyport.test/health:1"
)

// Import makes a variant of Image under another name. Each change is an
// instruction as in a Dockerfile, for example `HEALTHCHECK --interval=1s CMD
// ["/bin/true"]` or `ENTRYPOINT ["/bin/sh", "/start.sh"]`.
func (e *Engine) Import(ctx context.Context, name string, changes ...string) error {
	args := []string{"import"}
	for _, c := range append([]string{`CMD ["/bin/sleep","100000"]`, `ENV PATH=/bin`}, changes...) {
		args = append(args, "-c", c)
	}
	f, err := os.Open(e.rootfsTar())
	if err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	defer f.Close()
	cmd := e.CLI(ctx, append(args, "-", name)...)
	cmd.Stdin = f
	_, err = Output(cmd)
	return err
}

func (e *Engine) rootfsTar() string { return filepath.Join(e.Dir, "rootfs.tar") }

func (e *Engine) importImages(ctx context.Context) error {
	if err := testbed.WriteRootfs(ctx, e.rootfsTar()); err != nil {
		return err
	}
	if err := e.Import(ctx, Image); err != nil {
		return err
	}
	return e.Import(ctx, HealthImage, `HEALTHCHECK --interval=1s --timeout=10s CMD ["/bin/busybox","true"]`)
}
