// Package pods is the witness of the API server's pods: which containers a pod
// has, what they run, what the kubelet runs in them by itself, and whose they
// are. It lists them in pages and then watches; of each pod it keeps no more
// than it needs to tell whether anything changed.
//
// Limits: the list is not atomic, and a pod that lives for less than the time
// between two looks may be missed. Where the API server may not be asked, the
// node's runtime still tells pod, namespace, uid and container name (package
// containerd), but no probes and hooks.
package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/api"
)

// Server is an API server; *api.Client is one.
type Server interface {
	// Get asks for a path and returns the body of the answer, of type accept.
	Get(ctx context.Context, path, accept string) (io.ReadCloser, error)
}

// Options configures a Witness.
type Options struct {
	Server Server
	// Node limits the pods to those of one node; empty: all.
	Node string
	// Logger receives what concerns the operator; nil discards it.
	Logger *slog.Logger
}

// Stats counts what a Witness has done since New.
type Stats struct {
	Pods      uint64 // in the index now
	Reported  uint64 // as event.KubePod
	Unchanged uint64 // changes that concern nothing of an event.KubePod
	Lists     uint64 // of all pods, from first page to last
	Watches   uint64 // that were begun; one lasts some five minutes
	Bad       uint64 // records not understood
}

// Witness follows the pods of one API server.
type Witness struct {
	opts  Options
	index *index
	share *sharer
	stats struct{ pods, reported, unchanged, lists, watches, bad atomic.Uint64 }
}

// New returns a witness; it does no I/O.
func New(o Options) *Witness {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Witness{opts: o, index: newIndex(), share: newSharer()}
}

// Stats may be called at any time.
func (w *Witness) Stats() Stats {
	s := &w.stats
	return Stats{
		Pods: s.pods.Load(), Reported: s.reported.Load(), Unchanged: s.unchanged.Load(), Lists: s.lists.Load(), Watches: s.watches.Load(), Bad: s.bad.Load(),
	}
}

// watchFor is how long a watch may last; the API server ends it after that, and
// the next one goes on where it was. The spread keeps agents apart.
const watchFor = 5 * time.Minute

// listMax bounds the reading of all pods, stallMax how long a watch may be
// silent after it should have ended.
const (
	listMax  = 5 * time.Minute
	stallMax = time.Minute
)

// Run reports pods until ctx ends, and then returns nil. It returns an error
// when the API server does not answer or does not allow it, and may be called
// again: pods that have not changed since are not reported again. emit is called
// by one goroutine. A WitnessState that is up follows the first whole list.
func (w *Witness) Run(ctx context.Context, emit func(event.Observation)) error {
	err := w.follow(ctx, emit)
	if ctx.Err() != nil {
		return nil
	}
	var status *api.StatusError
	if errors.As(err, &status) && status.Hint() != "" {
		err = fmt.Errorf("%w; try: %s", err, status.Hint())
	}
	return fmt.Errorf("watch pods: %w", err)
}

func (w *Witness) follow(ctx context.Context, emit func(event.Observation)) error {
	version, err := w.list(ctx, emit)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	emit(event.WitnessState{Header: header(now), Up: true, From: now})
	for {
		began := time.Now()
		version, err = w.watch(ctx, version, emit)
		if errors.Is(err, errTooOld) {
			version, err = w.list(ctx, emit)
		}
		if err != nil {
			return err
		}
		select { // a server that ends each watch at once is not to be overrun
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(began.Add(time.Second))):
		}
	}
}

func header(t time.Time) event.Header {
	return event.Header{Time: t.UTC(), Witness: event.WitnessKube}
}

// errTooOld says that the API server no longer knows what has happened since.
var errTooOld = errors.New("the API server has forgotten the version to go on from")

// Bounds of one page of the list: how many pods, and how many bytes. A page
// that is larger is asked for again with fewer pods.
const (
	pageSize = 250
	pageMax  = 32 << 20
)

// list reports what is new, changed or gone, and returns the version that a
// watch goes on from.
func (w *Witness) list(ctx context.Context, emit func(event.Observation)) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listMax)
	defer cancel()
	w.index.begin()
	err = api.List(ctx, w.opts.Server.Get, api.Pages{
		Path: "/api/v1/pods?" + w.query().Encode(), Limit: pageSize, Bytes: pageMax,
		Again: w.index.begin, // what is known stays; all is read again
		Take: func(asked time.Time, raw []byte) (string, error) {
			var page corev1.PodList
			if err := page.Unmarshal(raw); err != nil {
				return "", fmt.Errorf("list: %w", err)
			}
			for i := range page.Items {
				w.see(asked, &page.Items[i], emit)
			}
			version = page.ResourceVersion
			return page.Continue, nil
		},
	})
	if err != nil {
		return "", err
	}
	w.stats.lists.Add(1)
	for _, gone := range w.index.end(time.Now()) {
		w.report(gone, emit)
	}
	w.stats.pods.Store(uint64(w.index.len()))
	return version, nil
}

func (w *Witness) query() url.Values {
	q := url.Values{}
	if w.opts.Node != "" {
		q.Set("fieldSelector", "spec.nodeName="+w.opts.Node)
	}
	return q
}

// watch reports changes until the watch ends, and returns the version that the
// next one goes on from.
func (w *Witness) watch(ctx context.Context, version string, emit func(event.Observation)) (string, error) {
	last := watchFor + rand.N(watchFor/5)
	ctx, cancel := context.WithTimeout(ctx, last+stallMax)
	defer cancel()
	q := w.query()
	q.Set("watch", "1")
	q.Set("allowWatchBookmarks", "true")
	q.Set("resourceVersion", version)
	q.Set("timeoutSeconds", strconv.Itoa(int(last/time.Second)))
	body, err := w.opts.Server.Get(ctx, "/api/v1/pods?"+q.Encode(), api.Protobuf+";stream=watch")
	if api.IsStatus(err, http.StatusGone) {
		return version, errTooOld
	}
	if err != nil {
		return version, err
	}
	defer body.Close()
	w.stats.watches.Add(1)
	frames := newFrames(body)
	for {
		c, err := frames.next()
		switch {
		case errors.Is(err, io.EOF):
			return version, nil
		case errors.Is(err, errDamaged):
			w.stats.bad.Add(1)
			return version, errTooOld // what was in it is found by looking at everything
		case err != nil:
			return version, fmt.Errorf("watch: %w", err)
		}
		version = c.pod.ResourceVersion
		w.change(c, emit)
	}
}

func (w *Witness) change(c change, emit func(event.Observation)) {
	switch now := time.Now(); c.kind {
	case changeBookmark:
	case changeDeleted:
		if gone, ok := w.index.remove(&c.pod); ok {
			w.report(gone.deleted(string(c.pod.UID), now), emit)
		}
		w.stats.pods.Store(uint64(w.index.len()))
	default:
		w.see(now, &c.pod, emit)
	}
}

// see reports a pod unless it is known as it is.
func (w *Witness) see(now time.Time, p *corev1.Pod, emit func(event.Observation)) {
	o := w.share.describe(now, p)
	if w.index.put(&o) {
		w.report(o, emit)
	} else {
		w.stats.unchanged.Add(1)
	}
	w.stats.pods.Store(uint64(w.index.len()))
}

func (w *Witness) report(o event.KubePod, emit func(event.Observation)) {
	w.stats.reported.Add(1)
	emit(o)
}
