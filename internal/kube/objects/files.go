package objects

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// extensions are those of manifests in a directory.
var extensions = []string{".yaml", ".yml", ".json"}

// ReadPath reads all manifests of a directory and of the directories in it. What cannot
// be opened inside is noted as skipped; links are not followed, so that nothing is read
// twice.
func (l *Loader) ReadPath(path string) error {
	l.files = true
	n := 0
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == path:
			return err
		case err != nil:
			l.skip(inventory.Origin{Source: name}, "%v", err)
		case d.IsDir() && name != path && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir // .git, .github
		case d.Type().IsRegular() && slices.Contains(extensions, strings.ToLower(filepath.Ext(name))):
			n++
			l.opts.Progress("files", n)
			if err := l.readFile(name); err != nil {
				l.skip(inventory.Origin{Source: name}, "%v", err)
			}
		}
		return nil
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: no files that end in %s", path, strings.Join(extensions, ", "))
	}
	return err
}

func (l *Loader) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.Read(name, f)
}
