package door

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/rawconn"
)

// Judge decides about requests before they are carried out. Its methods are
// called from many goroutines.
type Judge interface {
	// Decide says whether a request may go on. It may take its time; ctx ends with
	// the client. The session is not to be changed. When a second person is asked,
	// waits is told of it before he answers; it may be nil.
	Decide(ctx context.Context, request *session.Session, waits func(policy.Decision)) policy.Verdict
	// Misread is told of a request that may have several readings, or none, and
	// says whether it is refused.
	Misread(request *session.Session, reason error) (refuse bool)
	// Created is told which exec or container an allowed request made, before the
	// client is.
	Created(request *session.Session, id string)
}

// Options are those of a Proxy. Judge is required.
type Options struct {
	Network, Address string // of the daemon: "unix" and a path, or "tcp" and host:port
	Judge            Judge
	// Peer says who connected; nil for nobody.
	Peer func(net.Conn) (event.ConnID, event.Peer)
	// User names a uid, "" when it has no name; nil for no names.
	User func(uid uint32) string
	// Real says where a path of the daemon's host leads; nil when it is not this one.
	Real func(path string) string
	// Recorder records what a decision says; nil keeps nothing.
	Recorder Recorder
	// Observe is told of clients, requests and answers; nil when nobody asks. It is
	// called from many goroutines.
	Observe func(event.Observation)
	// Stop bounds how long streams may go on when the proxy ends (10 s).
	Stop   time.Duration
	Logger *slog.Logger
}

// Proxy stands in front of a Docker daemon.
type Proxy struct {
	opt     Options
	daemon  *daemon
	plain   *httputil.ReverseProxy
	streams streams
	tapes   sync.Map     // of *taping: recordings that go on
	taping  sync.RWMutex // held for reading while one goes on
	stats   Stats
}

// Stats counts what a proxy did.
type Stats struct {
	Requests, Denied, Misread, Failed, Streams atomic.Uint64
}

// New returns a proxy; it connects to nothing yet.
func New(opt Options) *Proxy {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Stop <= 0 {
		opt.Stop = 10 * time.Second
	}
	p := &Proxy{opt: opt, daemon: newDaemon(opt.Network, opt.Address)}
	p.plain = &httputil.ReverseProxy{
		// Without a FlushInterval answers of unknown length still pass at once.
		Rewrite: p.rewrite, Transport: p.daemon.http, BufferPool: buffers{}, ModifyResponse: p.answered,
		ErrorHandler: p.failed, ErrorLog: slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	return p
}

// Stats returns what the proxy did so far.
func (p *Proxy) Stats() *Stats { return &p.stats }

// Serve serves clients until ctx ends, and then waits for what is under way, at
// most as long as Options.Stop.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: 5 * time.Minute, MaxHeaderBytes: 1 << 20,
		ConnContext: p.connected, ConnState: p.changed,
		ErrorLog: slog.NewLogLogger(p.opt.Logger.Handler(), slog.LevelDebug),
	}
	err := serve(ctx, server, l, p.opt.Stop, p.streams.drain)
	p.taped()
	p.daemon.http.CloseIdleConnections()
	return err
}

// serve has a server serve until ctx ends, or it fails by itself. Then it waits, no
// longer than that, for what is under way and for drain, whose context ends with it.
func serve(ctx context.Context, server *http.Server, l net.Listener, wait time.Duration, drain func(context.Context)) error {
	ended := make(chan struct{})
	end := func() {
		defer close(ended)
		over, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		defer cancel()
		_ = server.Shutdown(over)
		drain(over)
		_ = server.Close()
	}
	stop := context.AfterFunc(ctx, end)
	err := server.Serve(rawconn.Listener{Listener: l})
	if stop() {
		end() // it failed by itself
	}
	<-ended
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// client is who is at the other end of a connection.
type client struct {
	conn net.Conn
	id   event.ConnID
	peer event.Peer
	n    atomic.Uint32 // requests so far
	// plugin says that it is the daemon that asks, for whoever.
	plugin bool
}

type clientKey struct{}

func (p *Proxy) connected(ctx context.Context, c net.Conn) context.Context {
	who := &client{conn: c}
	if p.opt.Peer != nil {
		who.id, who.peer = p.opt.Peer(c)
	}
	p.observe(event.ClientConnect{Header: now(), Conn: who.id, Service: event.ServiceDocker, Peer: who.peer, Tapped: true})
	p.streams.clients.Store(c, who)
	return context.WithValue(ctx, clientKey{}, who)
}

// changed notes that a connection is no longer the server's; of one that became a
// stream, the stream says when it ends.
func (p *Proxy) changed(c net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	who, ok := p.streams.clients.LoadAndDelete(c)
	if ok && s == http.StateClosed {
		p.observe(event.ClientClose{Header: now(), Conn: who.(*client).id})
	}
}

func now() event.Header {
	return event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard}
}

func (p *Proxy) observe(o event.Observation) {
	if p.opt.Observe != nil {
		p.opt.Observe(o)
	}
}

// actor says who asks: by certificate where there is one, else the process at the
// other end.
func (p *Proxy) actor(r *http.Request, who *client) session.Actor {
	if c := certificate(r); c != nil {
		return session.Actor{
			Kind: session.ActorTLS, User: c.CommonName, Groups: c.Organizations, Names: c.Names, Address: r.RemoteAddr, UserAgent: clip(r.UserAgent()),
		}
	}
	a := session.UnixActor(&who.peer, p.user)
	if a.Kind == session.ActorNone {
		a.Address = r.RemoteAddr
	}
	a.UserAgent = clip(r.UserAgent())
	return a
}

// namesMax bounds what is taken of a certificate.
const namesMax = 64

// certificate is whom the client's certificate names; nil without one.
func certificate(r *http.Request) *event.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	c := r.TLS.PeerCertificates[0]
	names := slices.Concat(c.DNSNames, c.EmailAddresses)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return &event.Certificate{
		CommonName: c.Subject.CommonName, Organizations: c.Subject.Organization[:min(len(c.Subject.Organization), namesMax)], Names: names[:min(len(names), namesMax)],
	}
}

func (p *Proxy) user(uid uint32) string {
	if p.opt.User == nil {
		return ""
	}
	return p.opt.User(uid)
}

// clip bounds what a client says of itself.
func clip(s string) string { return s[:min(len(s), 256)] }

// ServeHTTP judges one request and carries it out.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.stats.Requests.Add(1)
	who, ok := r.Context().Value(clientKey{}).(*client)
	if !ok {
		who = &client{}
	}
	ctx, left := who.listens(r)
	defer left()
	r = r.WithContext(ctx)
	a, err := p.ask(r, who)
	id := event.RequestID{Conn: who.id, N: who.n.Add(1) - 1}
	var bad *Misread
	var said *answer
	switch {
	case errors.As(err, &bad):
		p.stats.Misread.Add(1)
		refused := p.opt.Judge.Misread(&a.session, bad.Err)
		p.tell(r, id, who, a, &event.Decision{Effect: effect.Deny, Message: bad.Error(), Stopped: refused}, false)
		if refused {
			p.refuse(w, bad.Status, "sallyport refuses what it cannot read in one way only: "+bad.Error())
			return
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(a.came), r.Body))
		p.pass(w, r, &passing{asked: a, id: id, raw: true})
		return
	case errors.As(err, &said):
		maps.Copy(w.Header(), said.header)
		w.Header().Del("Transfer-Encoding")
		w.WriteHeader(said.status)
		_, _ = w.Write(said.body)
		return
	case err != nil:
		p.failed(w, r, err)
		return
	}
	ctx, stop := a.whileThere(r, who)
	told := false
	d := p.opt.Judge.Decide(ctx, &a.session, func(d policy.Decision) {
		told = true
		p.tell(r, id, who, a, &event.Decision{Effect: d.Effect, Rule: d.Rule, Message: d.Message, Waiting: true}, true)
	})
	stop()
	decision := event.Decision{Effect: d.Effect, Rule: d.Rule, Message: d.Message, Approver: d.Approver, Stopped: d.Stopped}
	if told {
		p.tellDecision(id, a, now(), &decision)
	} else {
		p.tell(r, id, who, a, &decision, true)
	}
	if d.Stopped {
		p.stats.Denied.Add(1)
		if a.byGRPC(r) {
			p.refuseGRPC(w, id, d.Message)
		} else {
			p.refuse(w, http.StatusForbidden, d.Message)
		}
		return
	}
	if d.Record && a.op == event.OpExecCreate && p.opt.Recorder != nil {
		if err := p.opt.Recorder.Ready(); err != nil {
			p.unrecorded(w, a, id, err)
			return
		}
	}
	p.pass(w, r, &passing{asked: a, id: id, record: d.Record})
}

// passing is a request that goes on to the daemon.
type passing struct {
	*asked
	id     event.RequestID
	record bool
	tape   *taping // of a copy
	status int     // of the daemon's answer, once there is one
	answer *asAnswered
	// raw says that it passes as it came, since nobody could read it.
	raw bool
}

type passingKey struct{}

func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, g *passing) {
	if _, upgrade := r.Header["Upgrade"]; g.stream || g.raw && upgrade {
		p.stream(w, r, g)
		return
	}
	if g.record && g.kind == session.KindCopy {
		p.copies(w, r, g)
		return
	}
	p.forward(w, r, g)
}

// forward carries out a request that stays HTTP.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, g *passing) {
	g.answer = &asAnswered{ResponseWriter: w}
	cutOff := true
	defer func() {
		if cutOff { // by a panic: what came until then is the client's
			g.answer.send()
		}
	}()
	p.plain.ServeHTTP(g.answer, r.WithContext(context.WithValue(r.Context(), passingKey{}, g)))
	cutOff = false
}

// asAnswered writes an answer as the daemon does. One of which the daemon does not
// say how long it is passes on as it comes: all that is there at once, and then the
// daemon is waited for.
type asAnswered struct {
	http.ResponseWriter
	late   bool        // send is called before the daemon is waited for
	unsent atomic.Bool // ReverseProxy flushes from a goroutine of its own, too
}

// WriteHeader implements http.ResponseWriter.
func (w *asAnswered) WriteHeader(status int) {
	_, known := w.Header()["Content-Length"]
	unsized := !known && status >= http.StatusOK
	if unsized {
		w.Header().Set("Transfer-Encoding", "chunked") // or the server states the length of one that is short
	}
	w.ResponseWriter.WriteHeader(status)
	if unsized {
		_ = w.FlushError()
	}
}

// FlushError is for http.ResponseController.
func (w *asAnswered) FlushError() error {
	if w.late {
		w.unsent.Store(true)
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// send has the client get what was written so far.
func (w *asAnswered) send() {
	if w.unsent.Swap(false) {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// rewrite makes the request that the daemon gets.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	g, _ := pr.In.Context().Value(passingKey{}).(*passing)
	g.apply(pr.Out)
	// Only streams become something else than HTTP.
	pr.Out.Header.Del("Upgrade")
	pr.Out.Header.Del("Connection")
}

// apply makes out the request that was judged.
func (g *passing) apply(out *http.Request) {
	out.URL.Scheme, out.URL.Host, out.Host = "http", "docker", "docker"
	out.RequestURI = ""
	if g.raw {
		return
	}
	out.URL.Opaque, out.URL.User, out.URL.RawPath, out.URL.Fragment = "", nil, "", ""
	out.URL.Path = g.target().String()
	out.URL.RawQuery = g.query.Encode()
	if !g.empty && g.body == nil {
		return
	}
	out.TransferEncoding, out.Trailer = nil, nil
	out.Header.Del("Content-Encoding")
	if g.empty {
		out.Body, out.ContentLength = http.NoBody, 0
		out.Header.Del("Content-Type")
		out.Header.Del("Content-Length")
		return
	}
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(g.json)), nil }
	out.Body, _ = out.GetBody()
	out.ContentLength = int64(len(g.json))
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set("Content-Length", strconv.Itoa(len(g.json)))
}

// target is the place that the daemon is asked for: of a container its full id.
func (a *asked) target() place {
	if a.names != aContainer && a.names != anExec {
		return a.place
	}
	return place{version: a.version, path: a.before + a.name + a.path[len(a.before)+len(a.asName):]}
}

// answered sees the daemon's answer before the client does.
func (p *Proxy) answered(res *http.Response) error {
	g, _ := res.Request.Context().Value(passingKey{}).(*passing)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return errors.New("the daemon switches protocols unasked")
	}
	g.status = res.StatusCode
	if b, ok := res.Body.(*body); ok {
		g.answer.late = true
		b.before(g.answer.send)
	}
	if g.tape != nil && g.status == http.StatusOK {
		res.Body = counted{io.TeeReader(res.Body, into{g.tape, Stdout}), res.Body}
	}
	if g.isResize() && g.status < 300 {
		p.resized(res.Request.Context(), g)
	}
	created := ""
	if res.StatusCode == http.StatusCreated && (g.op == event.OpExecCreate || g.op == event.OpContainerCreate) {
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		var v struct{ ID string }
		if err := json.Unmarshal(body, &v); err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		created = v.ID
		p.opt.Judge.Created(&g.session, created)
	}
	p.tellAnswer(g, res.StatusCode, created)
	return nil
}

func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		p.stats.Failed.Add(1)
		p.opt.Logger.Error("the Docker daemon cannot be asked", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	p.refuse(w, http.StatusBadGateway, "sallyport cannot ask the Docker daemon: "+err.Error())
}

// refuse answers as the daemon does when it refuses.
func (p *Proxy) refuse(w http.ResponseWriter, status int, message string) {
	body, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		body = []byte(`{"message":"refused"}`)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// tell reports a request as it is carried out, or not, and what was decided about
// it; certain says that it has one reading. Of what only reads, and of what is
// neither a command nor stopped, there is nothing to tell.
func (p *Proxy) tell(r *http.Request, id event.RequestID, who *client, a *asked, d *event.Decision, certain bool) {
	s := &a.session
	if p.opt.Observe == nil || !d.Stopped && !d.Waiting && (s.Channel == event.ChannelDockerRead || a.op == event.OpOther) {
		return
	}
	peer := who.peer
	peer.Certificate = certificate(r)
	o := event.DockerRequest{
		Header: now(), ID: id, Peer: peer, Op: a.op, Ref: string(s.Target.ContainerID), ExecID: s.ExecID, TTY: s.TTY,
		User: s.User, Privileged: s.Privileged, UserAgent: clip(r.UserAgent()), Certain: certain,
		Stdin: s.Stdin != nil && *s.Stdin, Path: event.Text(s.Path), Plugin: who.plugin,
	}
	switch a.op {
	case event.OpExecCreate:
		o.Argv = s.Argv
	case event.OpContainerCreate:
		o.Argv, o.Ref, o.HostAccess = s.Argv, s.Target.ContainerName, s.Target.HostAccess
	default:
	}
	p.observe(o)
	p.tellDecision(id, a, o.Header, d)
}

func (p *Proxy) tellDecision(id event.RequestID, a *asked, h event.Header, d *event.Decision) {
	d.Header, d.Request, d.Channel, d.Kind = h, id, a.session.Channel, string(a.session.Kind)
	p.observe(*d)
}

func (p *Proxy) tellAnswer(g *passing, status int, created string) {
	if p.opt.Observe == nil || g.op == event.OpOther {
		return
	}
	p.observe(event.DockerAnswer{Header: now(), ID: g.id, Op: g.op, Status: status, Created: created})
}

// listens returns a context that ends when the client is gone. That of net/http
// does so already when the client has nothing more to send: a client that says so
// and waits for its answer gets it from the daemon, and so it does here.
func (who *client) listens(r *http.Request) (context.Context, context.CancelFunc) {
	if who.conn == nil {
		return r.Context(), func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	stop := context.AfterFunc(r.Context(), func() {
		defer cancel()
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for halfClosed(who.conn) {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
		}
	})
	return ctx, func() { stop(); cancel() }
}

// lookEvery is how often it is looked whether a client is still there whose request
// is not read to its end.
const lookEvery = time.Second

// whileThere returns a context that ends with the client. That of net/http does so
// only once the body is read; what passes unread is not while it is decided about.
func (a *asked) whileThere(r *http.Request, who *client) (context.Context, context.CancelFunc) {
	if a.body != nil || a.empty || r.Body == http.NoBody || who.conn == nil {
		return r.Context(), func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
				if hungUp(who.conn) {
					cancel()
					return
				}
			}
		}
	}()
	return ctx, cancel
}
