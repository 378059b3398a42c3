package post_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/exporttest"
	"github.com/sallyport/sallyport/internal/export/jsonl"
	"github.com/sallyport/sallyport/internal/export/post"
)

// TestAnswers holds what each answer means: only what is about the body refuses
// it.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status  int
		after   string
		refused bool
		later   time.Duration
	}{
		{200, "", false, 0},
		{204, "", false, 0},
		{302, "", false, 0},
		{400, "", true, 0},
		{401, "", false, 0},
		{404, "", false, 0},
		{413, "", true, 0},
		{422, "", true, 0},
		{429, "7", false, 7 * time.Second},
		{503, "bogus", false, 0},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/x" {
				t.Errorf("asked for %s: a redirection was followed", req.URL)
			}
			w.Header().Set("Location", "/elsewhere")
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
		}))
		d, err := post.New(post.Options{URL: srv.URL + "/x", Format: jsonl.New()})
		if err != nil {
			t.Fatal(err)
		}
		err = d.Send(t.Context(), exporttest.Records()[:1])
		var refused *export.Refused
		var later *export.Later
		if (err == nil) != (c.status/100 == 2) || errors.As(err, &refused) != c.refused ||
			errors.As(err, &later) != (c.later > 0) || later != nil && later.After != c.later {
			t.Errorf("%d: %v", c.status, err)
		}
		d.Close()
		srv.Close()
	}
}

func TestErrorsDoNotShowTheURL(t *testing.T) {
	d, err := post.New(post.Options{URL: "http://127.0.0.1:1/?token=hunter2", Format: jsonl.New()})
	if err != nil {
		t.Fatal(err)
	}
	if err = d.Send(t.Context(), exporttest.Records()[:1]); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	if _, err = post.New(post.Options{URL: "ftp://u:hunter2@h/"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}
