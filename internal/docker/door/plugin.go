package door

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// PluginOptions are those of a Plugin. Network, Address and Judge are required.
type PluginOptions struct {
	Network, Address string // of the daemon that asks, for what it has to be asked itself
	Judge            Judge
	// Enforce has it refuse what it cannot decide about. What the judge refuses is
	// the judge's to say.
	Enforce bool
	// Real says where a path of the daemon's host leads; nil when it is not this one.
	Real func(path string) string
	// Limit bounds how long a decision takes (4 s). The answer is there a second
	// later at most, whatever keeps the judge.
	Limit time.Duration
	// Observe is told of requests, decisions and answers; nil when nobody asks. It is
	// called from many goroutines, and must not wait.
	Observe func(event.Observation)
	Logger  *slog.Logger
}

// Plugin is an authorization plugin: the daemon asks it about each request before
// it carries it out, in the place of a door that clients pass. It judges the
// requests that a [Proxy] would, with two differences: the daemon goes on with the
// client's bytes, so what a Proxy would put in other words is refused; and who asks
// is known by a certificate or not at all.
type Plugin struct {
	opt    PluginOptions
	reader *Proxy // for what a request is; it serves nobody
	token  string // by which the daemon's questions about our own are known
	slots  chan struct{}
	made   made
	all    client // numbers what is told of
	stats  PluginStats
	first  sync.Once
	asked  chan struct{} // closed by first, when the daemon asks about a request
}

// PluginStats counts what a plugin did.
type PluginStats struct {
	Requests, Denied, Misread, Late atomic.Uint64
}

// Bounds of a plugin.
const (
	pluginLimit = 4 * time.Second
	pluginGrace = time.Second
	pluginSlots = 128 // decisions at a time
	// lookupHeader marks our own questions to the daemon. It asks about them, too.
	lookupHeader = "X-Sallyport-Lookup"
)

// NewPlugin returns a plugin; it connects to nothing yet.
func NewPlugin(opt PluginOptions) *Plugin {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Limit <= 0 {
		opt.Limit = pluginLimit
	}
	p := &Plugin{
		opt: opt, token: rand.Text(), slots: make(chan struct{}, pluginSlots), made: newMade(), asked: make(chan struct{}),
		reader: New(Options{Network: opt.Network, Address: opt.Address, Judge: opt.Judge, Real: opt.Real, Observe: opt.Observe, Logger: opt.Logger}),
	}
	p.all.id, p.all.plugin = aConnection(), true
	p.all.peer.Cred = event.Cred{NoUID: true, NoGID: true}
	p.reader.daemon.token = p.token
	return p
}

// Stats returns what the plugin did so far.
func (p *Plugin) Stats() *PluginStats { return &p.stats }

// Serve answers the daemon until ctx ends, and then what it has asked already.
func (p *Plugin) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.opt.Logger.Handler(), slog.LevelDebug),
	}
	defer p.reader.daemon.http.CloseIdleConnections()
	return serve(ctx, server, l, p.opt.Limit+2*pluginGrace, func(context.Context) {})
}

// said is the answer to a question, as the daemon reads it.
type said struct {
	Allow bool
	Msg   string `json:",omitempty"`
}

// ServeHTTP answers one call of the daemon's.
func (p *Plugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var v any
	switch r.URL.Path {
	case "/Plugin.Activate":
		v = map[string][]string{"Implements": {"authz"}}
	case "/AuthZPlugin.AuthZReq":
		v = p.before(r)
	case "/AuthZPlugin.AuthZRes":
		p.after(r)
		v = said{Allow: true} // too late to stop anything
	default:
		http.NotFound(w, r)
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.1+json")
	_, _ = w.Write(body)
}

func questionOf(r *http.Request) (*question, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, questionMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > questionMax:
		return nil, fmt.Errorf("what the daemon says is longer than %d bytes", questionMax)
	}
	return parseQuestion(data)
}

// before answers whether a request may be carried out, in time.
func (p *Plugin) before(r *http.Request) said {
	q, err := questionOf(r)
	if err != nil {
		p.stats.Misread.Add(1)
		p.opt.Logger.Error("the daemon asks what cannot be read", slog.Any("error", err))
		return p.undecided("sallyport cannot read what the daemon asks")
	}
	if p.ours(q) {
		return said{Allow: true}
	}
	p.first.Do(func() { close(p.asked) })
	p.stats.Requests.Add(1)
	began := now()
	late, cancel := context.WithTimeout(r.Context(), p.opt.Limit+pluginGrace)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-late.Done():
		return p.late(q, began)
	}
	ctx, cancel := context.WithTimeout(late, p.opt.Limit)
	defer cancel()
	done := make(chan judged, 1)
	go func() {
		defer func() { <-p.slots }()
		done <- p.decide(ctx, q)
	}()
	select {
	case j := <-done:
		return p.answer(q, j)
	case <-late.Done():
		return p.late(q, began)
	}
}

// late answers for a judge that took too long. What he says then is told to nobody.
func (p *Plugin) late(q *question, began event.Header) said {
	p.stats.Late.Add(1)
	p.opt.Logger.Error("no decision in time", slog.String("method", q.Verb), slog.String("path", clip(q.URI)))
	p.reader.observe(event.Loss{Header: now(), From: began.Time, Count: 1, What: "requests"})
	return p.undecided("no decision in time; try again")
}

// judged is a request and what was decided about it.
type judged struct {
	said
	r        *http.Request
	asked    *asked // nil when nobody came to decide
	certain  bool   // it has one reading
	decision event.Decision
}

// answer says what was decided: to whoever observes, and to the daemon.
func (p *Plugin) answer(q *question, j judged) said {
	if j.asked == nil {
		return j.said
	}
	id := event.RequestID{Conn: p.all.id, N: p.all.n.Add(1) - 1}
	p.reader.tell(j.r, id, &p.all, j.asked, &j.decision, j.certain)
	if j.Allow && (j.asked.creates() || j.asked.op == event.OpContainerStart) {
		p.made.expect(q, &passing{asked: j.asked, id: id})
	}
	return j.said
}

// aConnection returns a number that no connection has: the kernel counts from 1.
func aConnection() event.ConnID {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return event.ConnID(1<<52 | binary.BigEndian.Uint64(b[:])>>12)
}

// undecided answers where there is no decision.
func (p *Plugin) undecided(why string) said {
	if !p.opt.Enforce {
		return said{Allow: true}
	}
	return said{Msg: why}
}

// ours reports whether the daemon asks about a question of our own. Such a one is
// looked up nowhere, so there is no end of questions, and only reads, so that who
// learned the token would gain nothing by it.
func (p *Plugin) ours(q *question) bool {
	if subtle.ConstantTimeCompare([]byte(q.Headers[lookupHeader]), []byte(p.token)) != 1 || q.Verb != http.MethodGet {
		return false
	}
	r, err := q.request()
	if err != nil {
		return false
	}
	rt, _, _, _, err := read(r)
	return err == nil && rt.channel == event.ChannelDockerRead
}

// decide says whether a request may be carried out.
func (p *Plugin) decide(ctx context.Context, q *question) (j judged) {
	defer func() {
		if trouble := recover(); trouble != nil {
			p.opt.Logger.Error("no decision", slog.Any("panic", trouble), slog.String("stack", string(debug.Stack())))
			j = judged{said: p.undecided("sallyport failed to decide")}
		}
	}()
	r, a, err := p.ask(ctx, q)
	j = judged{r: r, asked: a, certain: err == nil}
	if err != nil {
		p.stats.Misread.Add(1)
		why := reasonOf(err)
		j.decision = event.Decision{Effect: effect.Deny, Message: why, Stopped: p.opt.Judge.Misread(&a.session, err)}
		j.Msg = why
	} else {
		d := p.opt.Judge.Decide(ctx, &a.session, nil)
		j.decision = event.Decision{Effect: d.Effect, Rule: d.Rule, Message: d.Message, Approver: d.Approver, Stopped: d.Stopped}
		j.Msg = strings.TrimPrefix(d.Message, "sallyport: ")
	}
	switch {
	case !j.decision.Stopped:
		j.said = said{Allow: true}
	case err == nil:
		p.stats.Denied.Add(1)
	}
	return j
}

// reasonOf says to a client why nobody could tell what the request is.
func reasonOf(err error) string {
	var bad *Misread
	var from *answer
	switch {
	case errors.As(err, &from):
		return from.message()
	case errors.As(err, &bad):
		return "what cannot be read in one way only is refused: " + bad.Error()
	}
	return "it cannot be found out what this is: " + err.Error()
}

// ask reads a request as the daemon did. What is known of it is returned with the
// error, too.
func (p *Plugin) ask(ctx context.Context, q *question) (*http.Request, *asked, error) {
	r, bad := q.request()
	a, err := p.reader.ask(r.WithContext(ctx), &p.all)
	if a.session.Actor.Kind == session.ActorNone {
		a.session.Attribution = session.Attribution{Level: session.LevelNone}
	}
	if bad != nil {
		return r, a, misread(http.StatusBadRequest, bad)
	}
	// Of a body that was not handed on the reader says that it is empty: why is the
	// better reason.
	if bad := a.sameAsCame(q, r); bad != nil {
		return r, a, misread(http.StatusBadRequest, bad)
	}
	return r, a, err
}

// sameAsCame says why the daemon may read something else than was read here, which
// goes on as it came.
func (a *asked) sameAsCame(q *question, r *http.Request) error {
	how, err := q.seen(r)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(a.path, "/auth") && a.path != "/auth":
		return errors.New("of what begins with /auth the daemon hands on no body")
	case how == whole && a.body != nil && a.json != nil:
		return sameTokens(a.came, a.json)
	case how == nobody && a.body != nil && a.body != commit:
		return errors.New("there is no body")
	case how != hidden || a.path == "/auth" || a.unread():
		return nil
	case a.path == "/images/create" && r.Method == http.MethodPost:
		// An import from standard input. A form in its place could say anything.
		a.session.Kind, a.session.Channel, a.session.Verb, a.session.Path = session.KindRequest, event.ChannelUnknown, "post", a.path
		return nil
	}
	return errors.New("the daemon did not hand on the body: it is longer than 1 MiB (4 MiB since Docker 29.3), or no JSON")
}

// unread reports whether a request's body is an archive. A form in its place would
// leave nothing of it to read, or is of a channel that is allowed whole.
func (a *asked) unread() bool {
	if a.channel == event.ChannelUnknown {
		return false
	}
	switch a.method + " " + a.before + a.after {
	case "POST /build", "POST /images/load", "POST /plugins/create", "PUT /containers//archive":
		return true
	}
	return false
}

// creates reports whether the daemon's answer has the id of an exec or a container.
func (a *asked) creates() bool { return a.op == event.OpExecCreate || a.op == event.OpContainerCreate }

// after is told what became of a request. Of the id of what was created it is told
// before the client is.
func (p *Plugin) after(r *http.Request) {
	q, err := questionOf(r)
	if err != nil || q.Verb != http.MethodPost {
		return // what was created counts as another's, then
	}
	g := p.made.came(q)
	if g == nil {
		return
	}
	var v struct{ ID string }
	if g.creates() && q.Status == http.StatusCreated && json.Unmarshal(q.Response, &v) == nil && v.ID != "" {
		p.opt.Judge.Created(&g.session, v.ID)
	}
	p.reader.tellAnswer(g, q.Status, v.ID)
}

// made has the requests whose answer will have the id of what they created, or say
// whether something began.
type made struct {
	mu    sync.Mutex
	waits *bounded.Table[[sha256.Size]byte, []*passing] // guarded by mu
}

// Bounds of what is waited for. What is forgotten counts as another's.
const (
	waitsMax = 1 << 12
	sameMax  = 64 // requests alike at a time
)

func newMade() made {
	return made{waits: bounded.NewTable[[sha256.Size]byte](waitsMax, func([]*passing) {})}
}

// key is what the daemon says of a request both times.
func (q *question) key() [sha256.Size]byte {
	h := sha256.New()
	for _, s := range []string{q.Method, q.User, q.Verb, q.URI} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	_, _ = h.Write(q.Body)
	return [sha256.Size]byte(h.Sum(nil))
}

func (m *made) expect(q *question, g *passing) {
	k := q.key()
	m.mu.Lock()
	defer m.mu.Unlock()
	alike, _ := m.waits.Get(k)
	m.waits.Forget(k)
	alike = append(alike, g)
	m.waits.Add(k, alike[max(0, len(alike)-sameMax):])
}

// came returns the request that an answer is of: of several alike, which ask for
// the same, the last. It is nil when there is none.
func (m *made) came(q *question) *passing {
	if !strings.Contains(q.URI, "exec") && !strings.Contains(q.URI, "create") && !strings.Contains(q.URI, "start") && !strings.Contains(q.URI, "%") {
		return nil // no need to hash it
	}
	k := q.key()
	m.mu.Lock()
	defer m.mu.Unlock()
	alike, ok := m.waits.Get(k)
	if !ok {
		return nil
	}
	m.waits.Forget(k)
	last := alike[len(alike)-1]
	if rest := alike[:len(alike)-1]; len(rest) > 0 {
		m.waits.Add(k, rest)
	}
	return last
}
