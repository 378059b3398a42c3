package images

import (
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

const (
	executable = 0o111
	setID      = 0o6000
)

// inside tells what is in an image whose layers are these, the lowest first, and whose
// processes run as user unless somebody says otherwise.
func inside(layers []*layer, user string) (inventory.Inside, error) {
	t := newTree()
	for _, l := range layers {
		if err := t.add(l); err != nil {
			return inventory.Inside{}, err
		}
	}
	out := inventory.Inside{User: user, UID: t.uid(user)}
	t.files(func(name string, n *node) {
		in := listsOf(path.Base(name))
		if n.kind == symlink {
			if in == nil {
				return
			}
			if n = t.find(name, true); n == nil || n.kind != file {
				return
			}
		} else {
			mark(&out, name, n)
		}
		if n.mode&executable == 0 {
			return
		}
		for _, list := range in {
			*list(&out) = append(*list(&out), name)
		}
	})
	for _, g := range groups {
		tidy(g.of(&out))
	}
	tidy(&out.SetUID)
	tidy(&out.Capable)
	return out, nil
}

// mark notes a file that gives its caller something, whatever it is called.
func mark(out *inventory.Inside, name string, n *node) {
	if n.mode&executable == 0 {
		return
	}
	if n.mode&setID != 0 {
		out.SetUID = append(out.SetUID, name)
	}
	if n.capable {
		out.Capable = append(out.Capable, name)
	}
}

func tidy(list *[]string) {
	slices.Sort(*list)
	*list = slices.Clip((*list)[:min(len(*list), listMax)])
}

// uid returns the number of a user as an image's configuration names him, "name",
// "uid", either with ":group"; nil when the image does not tell. Nobody means root.
func (t *tree) uid(user string) *int64 {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return new(int64)
	}
	if n := t.find("/etc/passwd", true); n != nil {
		for line := range bytes.Lines(n.passwd) {
			f := strings.Split(strings.TrimRight(string(line), "\r\n"), ":")
			if len(f) > 2 && f[0] == name {
				return number(f[2])
			}
		}
	}
	return number(name)
}

func number(s string) *int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return nil
	}
	return &n
}
