package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/images"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

func (s *sources) imageFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.images, "images", nil, "look into images: `SOURCE` is host, for those of this machine's engines, an archive of docker save or an OCI layout (a tar or a directory); may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("images", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{fromHost}, cobra.ShellCompDirectiveDefault // files, too
	})
}

// lookInside looks into the images of an inventory's containers, where --images says that
// they are.
func (g *gatherer) lookInside(ctx context.Context, i *inventory.Inventory, show func(string, int)) error {
	if len(g.sources.images) == 0 {
		return nil
	}
	l := lookup{out: i, show: show}
	for _, from := range g.sources.images {
		if from == fromHost {
			l.host(ctx, g)
		} else if err := l.path(ctx, from); err != nil {
			return err
		}
	}
	l.fill()
	return nil
}

// lookup looks for what is in the images of containers.
type lookup struct {
	out   *inventory.Inventory
	show  func(what string, n int)
	set   images.Set
	read  int // images so far
	cache *images.Cache
}

func (l *lookup) missed(from, help string, err error) {
	if help == "" && errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		help = "run it as root"
	}
	l.out.Unread = append(l.out.Unread, inventory.Unread{What: inventory.PartImages, From: from, Why: err.Error(), Help: help})
}

// add takes in images of a source, whatever was wrong with others.
func (l *lookup) add(list []images.Image) {
	l.set.Add(list)
	l.read += len(list)
	l.show("images", l.read)
}

// path reads all images of an archive or a directory.
func (l *lookup) path(ctx context.Context, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return exit.Fail(exit.Usage, "", "--images: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return exit.Fail(exit.Usage, "", "--images: %w", err)
	}
	var list []images.Image
	if info.IsDir() {
		list, err = images.ReadLayout(ctx, from)
	} else {
		list, err = images.ReadArchive(f)
	}
	l.add(list)
	switch {
	case err != nil && len(list) == 0:
		return exit.Fail(exit.Usage, "docker save -o FILE IMAGE, or skopeo copy docker://IMAGE oci:DIRECTORY", "--images %s: %w", printable.Text(from), err)
	case err != nil:
		l.missed(from, "", err)
	}
	return nil
}

// imageEngine is an engine that has images.
type imageEngine interface {
	// find returns the digest by which it has a container's image; "" when it has none.
	find(ctx context.Context, c *inventory.Container) (string, error)
	read(ctx context.Context, id string) ([]images.Image, error)
}

// host looks into the images of containers that this machine's engines have.
func (l *lookup) host(ctx context.Context, g *gatherer) {
	var err error
	if l.cache, err = images.OpenCache(imageCache(g.env)); err != nil {
		fmt.Fprintf(g.env.Stderr, "What is in images is not kept for the next scan: %s\n", printable.Text(err.Error()))
	}
	engines, closeAll := l.engines(ctx, g)
	defer closeAll()
	if len(engines) == 0 {
		l.missed(fromHost, "", errors.New("neither Docker nor containerd answers on this machine"))
		return
	}
	seen := map[[2]string]bool{}
	for _, c := range images.Containers(l.out) {
		key := [2]string{c.ImageID, c.Image}
		if seen[key] || l.set.Find(c) != nil {
			continue
		}
		seen[key] = true
		l.ask(ctx, engines, c)
	}
}

// ask looks for a container's image at one engine after the other.
func (l *lookup) ask(ctx context.Context, engines []imageEngine, c *inventory.Container) {
	for _, k := range engines {
		id, err := k.find(ctx, c)
		if err != nil {
			l.missed(c.Image, "", err)
		}
		if id == "" {
			continue
		}
		list, err := l.look(ctx, k, id)
		if err != nil {
			l.missed(c.Image, "", err)
			continue
		}
		for n := range list {
			list[n].Digests = append(list[n].Digests, id)
			if len(images.Digests(c)) == 0 {
				list[n].Names = append(list[n].Names, c.Image)
			}
		}
		l.add(list)
		return
	}
}

// look looks into an image, unless that is known from before.
func (l *lookup) look(ctx context.Context, k imageEngine, id string) ([]images.Image, error) {
	if l.cache != nil {
		if list, ok := l.cache.Get(id); ok {
			return list, nil
		}
	}
	list, err := k.read(ctx, id)
	if err != nil {
		return nil, err
	}
	for n := range list {
		list[n].Names = nil // a name may be another image's tomorrow
	}
	if l.cache != nil {
		if err := l.cache.Put(id, list); err != nil {
			l.cache = nil // it is only slower without
		}
	}
	return list, nil
}

// imageCache is where it is kept what is in images.
func imageCache(env *terminal.Env) string {
	dir := env.Getenv("XDG_CACHE_HOME")
	switch {
	case filepath.IsAbs(dir):
	case os.Geteuid() == 0:
		dir = "/var/cache"
	default:
		dir, _ = os.UserCacheDir()
	}
	return filepath.Join(dir, "sallyport", "images")
}

// engines connects to the engines of this machine.
func (l *lookup) engines(ctx context.Context, g *gatherer) (out []imageEngine, closeAll func()) {
	var closers []func()
	closeAll = func() {
		for _, f := range closers {
			f()
		}
	}
	address := g.docker
	if s := docker.Find(g.env.Getenv); address == "" && s.Present {
		address = s.Address
	}
	if address != "" {
		d, err := docker.OpenImages(ctx, address)
		if err != nil {
			l.missed(address, "", err)
		} else {
			closers = append(closers, d.Close)
			out = append(out, dockerImages{d})
		}
	}
	for _, socket := range l.containerds() {
		c, err := containerd.OpenImages(socket)
		if err != nil {
			l.missed(socket, "", err)
			continue
		}
		closers = append(closers, func() { _ = c.Close() })
		k, err := newContainerdKeeper(ctx, c)
		if err != nil {
			l.missed(socket, "", err)
			continue
		}
		out = append(out, k)
	}
	return out, closeAll
}

// containerds lists the sockets of containerds: those of the hosts that were read, and the
// usual ones that are there.
func (l *lookup) containerds() (out []string) {
	for h := range l.out.Hosts {
		for _, s := range l.out.Hosts[h].Sockets {
			if s.Service == inventory.ServiceContainerd {
				out = append(out, s.Path)
			}
		}
	}
	out = append(out, containerd.Usual()...)
	for i, s := range out {
		if p, err := filepath.EvalSymlinks(s); err == nil {
			out[i] = p
		} else {
			out[i] = ""
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" })
}

// dockerImages has the images of a Docker daemon.
type dockerImages struct{ *docker.Images }

func (k dockerImages) find(ctx context.Context, c *inventory.Container) (string, error) {
	for _, ref := range append(images.Digests(c), images.Name(c.Image)) {
		if ref == "" {
			continue
		}
		if id, ok, err := k.ID(ctx, ref); ok || err != nil {
			return id, err
		}
	}
	return "", nil
}

func (k dockerImages) read(ctx context.Context, id string) ([]images.Image, error) {
	in, err := k.Save(ctx, id)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return images.ReadArchive(in)
}

// containerdImages has the images of a containerd, by their targets and by all names.
type containerdImages struct {
	*containerd.Images
	targets, names map[string]containerd.Image
}

func newContainerdKeeper(ctx context.Context, c *containerd.Images) (*containerdImages, error) {
	list, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	k := &containerdImages{c, map[string]containerd.Image{}, map[string]containerd.Image{}}
	for _, img := range list {
		k.targets[img.Target], k.names[img.Name] = img, img // CRI names images by the digests of their configurations, too
	}
	return k, nil
}

func (k *containerdImages) find(_ context.Context, c *inventory.Container) (string, error) {
	for _, d := range images.Digests(c) {
		if img, ok := k.targets[d]; ok {
			return img.Target, nil
		}
		if img, ok := k.names[d]; ok {
			return img.Target, nil
		}
	}
	return k.names[images.Name(c.Image)].Target, nil
}

func (k *containerdImages) read(ctx context.Context, id string) ([]images.Image, error) {
	return images.Read(ctx, k.Content(k.targets[id].Namespace), id, nil)
}

// imagesNamed is how many images are named that no source has.
const imagesNamed = 5

// fill tells containers what is in their images, and notes whose no source has.
func (l *lookup) fill() {
	var without []string
	for _, c := range images.Containers(l.out) {
		if in := l.set.Find(c); in != nil {
			c.Inside = in
		} else if c.Inside == nil && c.Image != "" && !slices.Contains(without, c.Image) {
			without = append(without, c.Image)
		}
	}
	if len(without) == 0 {
		return
	}
	from := strings.Join(without[:min(len(without), imagesNamed)], ", ")
	if n := len(without) - imagesNamed; n > 0 {
		from += fmt.Sprintf(" and %d more", n)
	}
	l.missed(from, "docker save -o FILE IMAGE, and --images FILE", errors.New("no source of --images has it"))
}
