package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Pages is a list that is read page by page.
type Pages struct {
	// Path is that of the list, with its query.
	Path string
	// Accept is the media type of a page; Protobuf when empty.
	Accept string
	// Limit is how many objects a page may have, Bytes how large it may be. One
	// that is larger is asked for again with fewer objects.
	Limit, Bytes int
	// Again is called when the server has forgotten the list on the way: it took too
	// long. What was taken of it is to be dropped, since all comes again.
	Again func()
	// Take takes a page, the message of a list in protobuf form that was asked for
	// at that time, and returns where the next begins: "" after the last.
	Take func(asked time.Time, page []byte) (next string, err error)
}

// errPage says that a page is larger than it may be.
var errPage = errors.New("page too large")

// ErrForm says that an answer is not what was asked for.
var ErrForm = errors.New("not in Kubernetes' protobuf form")

// List reads a whole list by get, which is Client.Get or what stands for it. It
// returns the first error of get or Take.
func List(ctx context.Context, get func(ctx context.Context, path, accept string) (io.ReadCloser, error), p Pages) error {
	path, query, _ := strings.Cut(p.Path, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	if p.Accept == "" {
		p.Accept = Protobuf
	}
	for limit := p.Limit; ; {
		q.Set("limit", strconv.Itoa(limit))
		asked := time.Now()
		body, err := get(ctx, path+"?"+q.Encode(), p.Accept)
		if IsStatus(err, http.StatusGone) && q.Has("continue") {
			p.Again()
			q.Del("continue")
			continue
		}
		if err != nil {
			return err
		}
		page, err := readPage(body, p.Bytes, limit)
		if errors.Is(err, errPage) && limit > 1 {
			limit = max(1, limit/10)
			continue
		}
		if err != nil {
			return err
		}
		next, err := p.Take(asked, page)
		if err != nil || next == "" {
			return err
		}
		q.Set("continue", next)
	}
}

// readPage reads a page and closes it.
func readPage(body io.ReadCloser, most, limit int) ([]byte, error) {
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if len(b) > most {
		return nil, fmt.Errorf("list: %w: more than %d bytes for %d objects", errPage, most, limit)
	}
	raw, ok := Unwrap(b)
	if !ok {
		return nil, fmt.Errorf("list: %w", ErrForm)
	}
	return raw, nil
}
