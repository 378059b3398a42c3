package door

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// question is what the daemon says of a request, before and after it is carried
// out (moby pkg/authorization, API of version 1 plugins).
type question struct {
	// User is a certificate's common name when Method is "TLS"; else the daemon
	// knows nobody.
	User   string
	Method string `json:"UserAuthNMethod"`
	// Verb and URI are those of the request's line, URI as the client wrote it.
	Verb string `json:"RequestMethod"`
	URI  string `json:"RequestUri"`
	// Headers have the last of several values, and none that authorize anybody.
	Headers map[string]string `json:"RequestHeaders"`
	// Body is the whole body, or nothing: of a media type other than
	// application/json, of a body longer than the daemon hands on, and of some paths
	// it is left out.
	Body []byte `json:"RequestBody"`
	// Certificates are the client's, each in PEM.
	Certificates [][]byte `json:"RequestPeerCertificates"`

	Status   int    `json:"ResponseStatusCode"`
	Response []byte `json:"ResponseBody"`
}

// questionMax bounds what the daemon may say: four MiB of body are the most that
// any daemon hands on.
const questionMax = 16 << 20

var (
	errURI  = errors.New("the address has characters that no address has")
	errUser = errors.New("the daemon names a user and shows another's certificate")
)

// parseQuestion reads what the daemon says.
func parseQuestion(data []byte) (*question, error) {
	q := new(question)
	if err := plainjson.Unmarshal(data, q); err != nil {
		return nil, fmt.Errorf("what the daemon says: %w", err)
	}
	if q.Verb == "" || q.URI == "" {
		return nil, errors.New("what the daemon says names no request")
	}
	return q, nil
}

// request is the request as the daemon read it. The header fields that decide how
// it is read are those that the daemon tells of.
func (q *question) request() (*http.Request, error) {
	r := &http.Request{
		Method: q.Verb, URL: &url.URL{Path: "/"}, Header: http.Header{}, RequestURI: q.URI, ContentLength: int64(len(q.Body)),
		Body: io.NopCloser(bytes.NewReader(q.Body)),
	}
	for k, v := range q.Headers {
		r.Header.Set(k, v)
	}
	// What is not ASCII may have been something else before it became JSON.
	for i := range len(q.URI) {
		if c := q.URI[i]; c <= ' ' || c >= 0x7f {
			return r, errURI
		}
	}
	u, err := url.ParseRequestURI(q.URI) // as net/http does at the daemon
	if err != nil {
		return r, err
	}
	r.URL = u
	return r, q.identify(r)
}

// identify says who asks, where the daemon knows it.
func (q *question) identify(r *http.Request) error {
	if q.Method != "TLS" {
		return nil
	}
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: q.User}}
	if len(q.Certificates) > 0 {
		block, _ := pem.Decode(q.Certificates[0])
		if block == nil {
			return errUser
		}
		shown, err := x509.ParseCertificate(block.Bytes)
		if err != nil || shown.Subject.CommonName != q.User {
			return errUser
		}
		cert = shown
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	return nil
}

// unseen says how much is known of a request's body.
type unseen int

const (
	whole  unseen = iota // it is what the daemon handed on
	nobody               // there is none, or none that the daemon would read
	hidden               // there may be one that the daemon did not hand on
)

// seen says how much is known of the body. The daemon hands it on when its first
// Content-Type is application/json and it is short enough; of several it tells the
// last one, so that a form may stand behind a request that looks as if it had none.
// How a body without a length is framed it does not tell.
func (q *question) seen(r *http.Request) (unseen, error) {
	length := r.Header.Get("Content-Length")
	switch {
	case len(q.Body) > 0:
		if length != "" && length != strconv.Itoa(len(q.Body)) {
			return whole, fmt.Errorf("of a body of %s bytes the daemon hands on %d", length, len(q.Body))
		}
		return whole, nil
	case length == "0", r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch:
		return nobody, nil
	case length == "" && r.Header.Get("Content-Type") == "":
		return nobody, nil // the daemon takes neither JSON nor a form without a media type
	}
	return hidden, nil
}
