// Package control is how people answer for requests that a guard holds: HTTP on a
// unix socket, of which the kernel says who is at the other end.
//
//	GET  /v1/approvals               what waits, and what is approved for a time
//	POST /v1/approvals/ID/approve    {"for_seconds": 900, "reason": "incident 42"}
//	POST /v1/approvals/ID/deny       {"reason": "not today"}
//
// ID may be the beginning of one. The first answers {"approvals": [RECORD, …]}, the
// others with the record of what became of it, and what fails {"error": "…"}.
package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// Bounds of what somebody says.
const (
	bodyMax   = 4 << 10 // bytes
	reasonMax = 500     // bytes
)

// IDMin is the least number of characters that name a request.
const IDMin = 4

var isID = regexp.MustCompile(`^[a-z2-7]{4,32}$`)

// errInput wraps what is wrong with what somebody sent.
var errInput = errors.New("not understood")

// answerJSON is the body of an answer.
type answerJSON struct {
	ForSeconds *int64 `json:"for_seconds,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

type listJSON struct {
	Approvals []guard.Record `json:"approvals"`
}

type errorJSON struct {
	Error string `json:"error"`
}

// CheckID says why a text does not name a request, if so.
func CheckID(id string) error {
	if !isID.MatchString(id) {
		return fmt.Errorf("%w: %.40q is no id of a request: want at least %d of its characters, a to z and 2 to 7", errInput, id, IDMin)
	}
	return nil
}

// CheckReason says why a text is no reason, if so: it goes into records and to
// whoever asked.
func CheckReason(text string) error {
	switch {
	case len(text) > reasonMax:
		return fmt.Errorf("%w: the reason is longer than %d bytes", errInput, reasonMax)
	case !utf8.ValidString(text), strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%w: the reason is not one line of text", errInput)
	}
	return nil
}

// readAnswer reads the body of an answer. mayFor says that it may name a time.
func readAnswer(r *http.Request, mayFor bool) (a guard.Answer, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return a, fmt.Errorf("%w: Content-Type must be application/json", errInput)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax+1))
	if err != nil || len(body) > bodyMax {
		return a, fmt.Errorf("%w: the body is longer than %d bytes, or broken", errInput, bodyMax)
	}
	return parseAnswer(body, mayFor)
}

func parseAnswer(body []byte, mayFor bool) (a guard.Answer, err error) {
	if !utf8.Valid(body) {
		return a, fmt.Errorf("%w: the body is not UTF-8", errInput)
	}
	var v *answerJSON
	if err := plainjson.Unmarshal(body, &v); err != nil {
		return a, fmt.Errorf("%w: %w", errInput, err)
	}
	strict := json.NewDecoder(bytes.NewReader(body))
	strict.DisallowUnknownFields()
	switch err := strict.Decode(new(answerJSON)); {
	case err != nil:
		return a, fmt.Errorf("%w: %w", errInput, err)
	case v == nil:
		return a, fmt.Errorf("%w: want an object", errInput)
	case v.ForSeconds != nil && !mayFor:
		return a, fmt.Errorf("%w: for_seconds goes with approve alone", errInput)
	case v.ForSeconds != nil && (*v.ForSeconds <= 0 || *v.ForSeconds > int64(guard.ForMax/time.Second)):
		return a, fmt.Errorf("%w: for_seconds must be between 1 and %d", errInput, int64(guard.ForMax/time.Second))
	}
	if v.ForSeconds != nil {
		a.For = time.Duration(*v.ForSeconds) * time.Second
	}
	a.Reason = strings.TrimSpace(v.Reason)
	return a, CheckReason(a.Reason)
}

// status returns that of HTTP for an error.
func status(err error) int {
	switch {
	case errors.Is(err, errInput), errors.Is(err, guard.ErrNoGrant):
		return http.StatusBadRequest
	case errors.Is(err, guard.ErrNotApprover), errors.Is(err, guard.ErrSamePerson):
		return http.StatusForbidden
	case errors.Is(err, guard.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, guard.ErrSettled), errors.Is(err, guard.ErrAmbiguous):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
