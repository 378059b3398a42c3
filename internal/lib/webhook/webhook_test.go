package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/lib/webhook"
)

func TestSecrets(t *testing.T) {
	for _, bad := range []string{"", "short", "whsec_***", "whsec_c2hvcnQ="} {
		if _, err := webhook.NewSecret(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	// The values are those that Python's hmac gives.
	s, err := webhook.NewSecret("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	s.Sign(h, []byte(`{"a":1}`), time.Unix(1700000000, 0))
	if h.Get("webhook-timestamp") != "1700000000" || h.Get("webhook-id") != "msg_015abd7f5cc57a2dd94b7590f04ad808" || h.Get("webhook-signature") != "v1,NNXjT0g2SUlkXDI6FeLnMmdOw1LeSxp1qMa93VUqN3k=" {
		t.Errorf("%v", h)
	}
}
