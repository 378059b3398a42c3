package audit

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// logFile is one file of a log that may have been rotated.
type logFile struct {
	path  string
	file  *os.File
	plain io.Reader // its text; the file itself unless it is compressed
	head  []byte
	named string    // the digest of the first headMax bytes, once known
	first time.Time // of its first event
	last  bool      // it has the log's own name
}

// openLog opens a file and looks at its beginning. Anything else is refused: to open a
// pipe may take for ever.
func openLog(path string) (*logFile, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &logFile{path: path, file: f, plain: f}
	if err := l.look(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

// look reads the beginning and goes back to it.
func (l *logFile) look() error {
	if err := l.rewind(); err != nil {
		return err
	}
	begin := bufio.NewReaderSize(l.plain, chunk)
	line, err := begin.Peek(headMax)
	if err != nil && err != io.EOF {
		return err
	}
	l.head = slices.Clone(line)
	line, _ = begin.ReadSlice('\n')
	l.first = firstTime(line)
	if info, err := l.file.Stat(); err == nil && l.first.IsZero() {
		l.first = info.ModTime()
	}
	return l.rewind()
}

func (l *logFile) rewind() error {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if !strings.HasSuffix(l.path, ".gz") {
		return nil
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(l.file, chunk))
	l.plain = z
	return err
}

// seek goes to an offset of the text. It reports false when there is less.
func (l *logFile) seek(offset int64) bool {
	if l.plain == l.file {
		info, err := l.file.Stat()
		if err != nil || info.Size() < offset {
			return false
		}
		_, err = l.file.Seek(offset, io.SeekStart)
		return err == nil
	}
	n, err := io.CopyN(io.Discard, l.plain, offset)
	return err == nil && n == offset
}

// firstTime returns the time in an event, zero when it has none.
func firstTime(line []byte) time.Time {
	var r record
	for m := membersOf(line); m.next(); {
		r.set(m.key, m.value)
	}
	at, err := time.Parse(time.RFC3339Nano, text(r.at))
	if err != nil {
		return time.Time{}
	}
	return at
}

// rotatedMax bounds how many files beside the log are looked at.
const rotatedMax = 1024

// rotated returns the paths of files that may be older parts of the log at path,
// by the names that kube-apiserver (audit-TIME.log) and logrotate (audit.log.1,
// audit.log-DATE) give, compressed or not, changed since since.
func rotated(path string, since time.Time) ([]string, error) {
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		base := strings.TrimSuffix(e.Name(), ".gz")
		ours := strings.HasPrefix(base, stem+"-") && strings.HasSuffix(base, ext) ||
			strings.HasPrefix(base, name+".") || strings.HasPrefix(base, name+"-")
		info, err := e.Info()
		if !ours || err != nil || !info.Mode().IsRegular() || info.Size() == 0 || info.ModTime().Before(since) {
			continue
		}
		out = append(out, filepath.Join(dir, e.Name()))
	}
	slices.Sort(out) // a plain file before its compressed form
	out = slices.CompactFunc(out, func(a, b string) bool { return b == a+".gz" })
	return out[max(0, len(out)-rotatedMax):], nil
}

// slack is how far the times in files may deviate from a bookmark's: what is
// read twice does no harm.
const slack = time.Minute

// pending opens the files that hold what came after the bookmark, in order, the
// log itself last. The first is at the bookmark's place when found is true;
// otherwise what lies between them is missing.
func pending(path string, at *bookmark) (files []*logFile, found bool, err error) {
	paths, err := rotated(path, at.Time.Add(-slack))
	if err != nil {
		return nil, false, err
	}
	current, err := openLog(path)
	if err != nil {
		return nil, false, err
	}
	current.last = true
	for _, p := range paths {
		if f, err := openLog(p); err == nil {
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(a, b *logFile) int { return a.first.Compare(b.first) })
	files = append(files, current)
	i := slices.IndexFunc(files, func(f *logFile) bool { return at.matches(f.head) })
	if i >= 0 && files[i].seek(at.Offset) {
		return drop(files, i), true, nil
	}
	if i >= 0 { // shorter than it was: what is there now is new
		_ = files[i].rewind()
	}
	i = slices.IndexFunc(files, func(f *logFile) bool { return f.last || !f.first.Before(at.Time.Add(-slack)) })
	return drop(files, i), at.HeadLen == 0, nil
}

// drop closes the first n files and returns the others.
func drop(files []*logFile, n int) []*logFile {
	for _, f := range files[:n] {
		_ = f.file.Close()
	}
	return files[n:]
}
