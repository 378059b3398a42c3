package images

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// nodesMax bounds the files and directories of an image.
const nodesMax = 4 << 20

// linksMax is how many symbolic links are followed for one name: the kernel's bound.
const linksMax = 40

// node is a file or directory of an image.
type node struct {
	kind     kind
	mode     int64
	capable  bool
	link     string
	passwd   []byte
	children map[string]*node // of a directory
}

// stepsMax bounds the directories that are passed in all: links can make a short
// name a long way.
const stepsMax = 1 << 28

// tree is an image's root file system, layer upon layer.
type tree struct {
	root         *node
	nodes, steps int
}

func newTree() *tree { return &tree{root: &node{kind: directory}} }

var errLinks = errors.New("too many symbolic links")

// add puts a layer on top. What it hides is what was there before it, wherever in the
// layer that stands.
func (t *tree) add(l *layer) error {
	for i := range l.entries {
		if e := &l.entries[i]; e.kind == whiteout || e.kind == opaque {
			t.hide(e)
		}
	}
	for i := range l.entries {
		if e := &l.entries[i]; e.kind != whiteout && e.kind != opaque {
			if err := t.put(e); err != nil {
				return fmt.Errorf("%q: %w", e.name, err)
			}
		}
	}
	return nil
}

func (t *tree) hide(e *entry) {
	if e.kind == opaque {
		if n := t.find(e.name, true); n != nil && n.kind == directory {
			n.children = nil
		}
		return
	}
	if in := t.find(path.Dir(e.name), true); in != nil {
		delete(in.children, path.Base(e.name))
	}
}

// put makes an entry's file. Directories above it that are missing are made, links
// among them followed, as containerd does.
func (t *tree) put(e *entry) error {
	if e.name == "/" {
		return nil
	}
	in, err := t.directory(path.Dir(e.name))
	if err != nil {
		return err
	}
	name := path.Base(e.name)
	n := &node{kind: e.kind, mode: e.mode, capable: e.capable, link: e.link, passwd: e.passwd}
	switch e.kind {
	case directory:
		if old := in.children[name]; old != nil && old.kind == directory {
			return nil
		}
	case hardlink:
		to := path.Clean("/" + e.link)
		same := t.find(to, false)
		switch {
		case same != nil && same.kind == directory:
			return errors.New("a hard link to a directory")
		case same != nil:
			n = same
		default:
			n.kind = other // to nothing
		}
	case file, symlink, other, whiteout, opaque:
	}
	return t.attach(in, name, n)
}

func (t *tree) attach(in *node, name string, n *node) error {
	if t.nodes++; t.nodes > nodesMax {
		return fmt.Errorf("%w: more than %d files", ErrLarge, nodesMax)
	}
	if in.children == nil {
		in.children = map[string]*node{}
	}
	in.children[name] = n
	return nil
}

// find returns what a name stands for, nil when that is nothing. A link at its end is
// followed when last is set; those before it always are, and none leads out of the
// image.
func (t *tree) find(name string, last bool) *node {
	n, _ := t.walk(name, last, false)
	return n
}

// directory returns a directory, which it makes where there is none.
func (t *tree) directory(name string) (*node, error) { return t.walk(name, true, true) }

// walk goes to a name. With create, what is missing or no directory becomes one.
func (t *tree) walk(name string, last, create bool) (*node, error) {
	at := []*node{t.root} // the way from the root
	rest := split(name)
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		if t.steps++; t.steps > stepsMax {
			return nil, fmt.Errorf("%w: ways through links", ErrLarge)
		}
		if step == ".." {
			at = at[:max(1, len(at)-1)]
			continue
		}
		here := at[len(at)-1]
		n := here.children[step]
		if n != nil && n.kind == symlink && (last || len(rest) > 0) {
			if links++; links > linksMax {
				return nil, errLinks
			}
			if strings.HasPrefix(n.link, "/") {
				at = at[:1]
			}
			rest = append(split(n.link), rest...)
			continue
		}
		if n == nil || n.kind != directory && (len(rest) > 0 || create) {
			if !create {
				return nil, nil
			}
			n = &node{kind: directory}
			if err := t.attach(here, step, n); err != nil {
				return nil, err
			}
		}
		at = append(at, n)
	}
	return at[len(at)-1], nil
}

// split returns the steps of a name.
func split(name string) (out []string) {
	for step := range strings.SplitSeq(name, "/") {
		if step != "" && step != "." {
			out = append(out, step)
		}
	}
	return out
}

// files calls each with every file and symbolic link. The order is not defined.
func (t *tree) files(each func(name string, n *node)) {
	type place struct {
		name string
		*node
	}
	for todo := []place{{"", t.root}}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for name, n := range p.children {
			full := p.name + "/" + name
			switch n.kind {
			case directory:
				todo = append(todo, place{full, n})
			case file, symlink:
				each(full, n)
			case other, hardlink, whiteout, opaque:
			}
		}
	}
}
