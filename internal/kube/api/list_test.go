package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sallyport/sallyport/internal/kube/api"
)

// TestList: pages come one after the other; one that is too large comes again with
// fewer objects, in the end one by one; a list that the server has forgotten on the
// way comes again from its beginning.
func TestList(t *testing.T) {
	const objects, most = 7, 30 // an object takes ten bytes, what is around them some more
	var asked []string
	forgets := true
	get := func(_ context.Context, path, accept string) (io.ReadCloser, error) {
		u, err := url.Parse(path)
		if err != nil || u.Path != "/api/v1/things" || u.Query().Get("fieldSelector") != "a=b" || accept != api.Protobuf {
			t.Fatalf("asked for %q as %q", path, accept)
		}
		limit, _ := strconv.Atoi(u.Query().Get("limit"))
		from, _ := strconv.Atoi(u.Query().Get("continue"))
		asked = append(asked, fmt.Sprintf("%d+%d", from, limit))
		if from == 3 && forgets {
			forgets = false
			return nil, &api.StatusError{Code: http.StatusGone, Message: "too old"}
		}
		until := min(objects, from+limit)
		if limit == 0 {
			until = objects
		}
		text := strings.Repeat("0123456789", until-from) + fmt.Sprint(";", until)
		raw, err := (&runtime.Unknown{Raw: []byte(text)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return io.NopCloser(bytes.NewReader(append([]byte("k8s\x00"), raw...))), nil
	}
	got := 0
	err := api.List(t.Context(), get, api.Pages{
		Path: "/api/v1/things?fieldSelector=a%3Db", Limit: 20, Bytes: most,
		Again: func() { got = 0 },
		Take: func(_ time.Time, page []byte) (string, error) {
			text, until, _ := strings.Cut(string(page), ";")
			got += len(text) / 10
			if until == strconv.Itoa(objects) {
				return "", nil
			}
			return strings.TrimSpace(until), nil
		},
	})
	if err != nil || got != objects {
		t.Errorf("%d of %d objects, %v; asked for %v", got, objects, err, asked)
	}
	if want := "0+20 0+2 0+1 1+1 2+1 3+1 0+1 1+1"; !strings.HasPrefix(strings.Join(asked, " "), want) {
		t.Errorf("asked for %v, want %s and so on", asked, want)
	}
}
