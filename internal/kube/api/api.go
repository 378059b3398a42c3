// Package api is a connection to a Kubernetes API server, with whatever
// credentials a kubeconfig file or a pod's service account gives. It knows
// nothing of the objects behind the paths.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// InCluster, in place of a kubeconfig's path, means the pod's service account.
const InCluster = "in-cluster"

// Client asks one API server. It may be used from several goroutines.
type Client struct {
	base *url.URL
	http *http.Client
}

// Connect returns a client for the server that a kubeconfig file names, or for
// the cluster that the program runs in. It does not ask the server anything.
func Connect(kubeconfig string) (*Client, error) {
	config, err := load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("connect to API server: %w", err)
	}
	return connect(config)
}

// ConnectAs returns a client for the server that kubectl would ask: that of a
// kubeconfig file, "" for those that kubectl reads or else the pod's service
// account, and of a context in it, "" for the current one. name says in few words
// which cluster that is. It does not ask the server anything.
func ConnectAs(kubeconfig, context string) (c *Client, name string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("connect to API server: %w", err)
	}
	if c, err = connect(config); err != nil {
		return nil, "", err
	}
	if raw, err := loader.RawConfig(); context == "" && err == nil {
		context = raw.CurrentContext
	}
	if context == "" {
		context = c.Server()
	}
	return c, context, nil
}

// Configured reports whether kubectl would find a cluster to ask: by a kubeconfig, even a
// broken one, or by the credentials of the pod that this is.
func Configured() bool {
	_, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	return !clientcmd.IsEmptyConfig(err)
}

func connect(config *rest.Config) (*Client, error) {
	config.UserAgent = "sallyport"
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to API server: %w", err)
	}
	return &Client{base: base, http: client}, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == InCluster {
		return rest.InClusterConfig()
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{}).ClientConfig()
}

// Server returns the API server's URL.
func (c *Client) Server() string { return c.base.String() }

// StatusError is an answer other than 200.
type StatusError struct {
	Code    int
	Message string // the server's, or the beginning of what it sent
}

// Error implements error.
func (e *StatusError) Error() string { return e.Message }

// Hint says what to do about it.
func (e *StatusError) Hint() string {
	switch e.Code {
	case http.StatusForbidden:
		return "sallyport kube rbac | kubectl apply -f -"
	case http.StatusUnauthorized:
		return "give a kubeconfig with credentials that the API server accepts"
	}
	return ""
}

// IsStatus reports whether err is an answer of the server with this code.
func IsStatus(err error, code int) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == code
}

// Media types of answers.
const (
	JSON     = "application/json"
	Protobuf = "application/vnd.kubernetes.protobuf"
)

// Get asks for a path with its query, as in "/api/v1/pods?limit=1", and returns
// the body of the answer, which the caller closes. An answer other than 200 is
// a *StatusError. ctx bounds the body too.
func (c *Client) Get(ctx context.Context, path, accept string) (io.ReadCloser, error) {
	ref, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	to := *c.base
	to.Path, to.RawQuery = strings.TrimSuffix(c.base.Path, "/")+ref.Path, ref.RawQuery
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	q.Header.Set("Accept", accept)
	res, err := c.http.Do(q)
	if err != nil {
		return nil, err // names method and URL
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, fmt.Errorf("get %s: %w", ref.Path, refusal(res))
	}
	return res.Body, nil
}

// messageMax bounds what is read of an answer that is an error.
const messageMax = 64 << 10

func refusal(res *http.Response) *StatusError {
	b, _ := io.ReadAll(io.LimitReader(res.Body, messageMax))
	return &StatusError{Code: res.StatusCode, Message: message(res, b)}
}

// message finds what the server says in a body that may be a Status in
// protobuf or JSON, or anything else.
func message(res *http.Response, body []byte) string {
	var status metav1.Status
	if raw, ok := Unwrap(body); ok && status.Unmarshal(raw) == nil && status.Message != "" {
		return status.Message
	}
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Message != "" {
		return status.Message
	}
	if text := strings.TrimSpace(string(body[:min(len(body), 200)])); text != "" {
		return res.Status + ": " + text
	}
	return res.Status
}

// Unwrap returns the message inside an object in Kubernetes' protobuf form,
// which has a prefix and an envelope (k8s.io/apimachinery
// runtime/serializer/protobuf). ok is false for anything else.
func Unwrap(body []byte) (message []byte, ok bool) {
	const prefix = "k8s\x00"
	rest, ok := strings.CutPrefix(string(body[:min(len(body), len(prefix))]), prefix)
	if !ok || rest != "" {
		return nil, false
	}
	var envelope runtime.Unknown
	if envelope.Unmarshal(body[len(prefix):]) != nil {
		return nil, false
	}
	return envelope.Raw, true
}

// Probe asks for a path and returns the answer's status code, whatever it is;
// an error says that there was no answer.
func (c *Client) Probe(ctx context.Context, path string) (code int, err error) {
	body, err := c.Get(ctx, path, JSON)
	var status *StatusError
	switch {
	case errors.As(err, &status):
		return status.Code, nil
	case err != nil:
		return 0, err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(body, 1<<20))
	return http.StatusOK, err
}
