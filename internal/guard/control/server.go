package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/guard"
)

// Desk is where requests wait; *guard.Guard is one. It judges who may answer.
type Desk interface {
	Approvals(by guard.Person) ([]guard.Record, error)
	Approve(id string, by guard.Person, a guard.Answer) (guard.Record, error)
	Deny(id string, by guard.Person, reason string) (guard.Record, error)
}

// Options are those of Serve. Desk and Person are required.
type Options struct {
	Desk Desk
	// Person says who is at the other end of a connection.
	Person func(net.Conn) guard.Person
	Logger *slog.Logger
}

// Bounds of a connection. What is asked is answered at once, so that nobody needs
// one for long.
const (
	patience = 10 * time.Second
	stopMax  = 2 * time.Second
)

type personKey struct{}

// Serve serves people until ctx ends.
func Serve(ctx context.Context, l net.Listener, opt Options) error {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	server := &http.Server{
		Handler: handler(opt.Desk), ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience, MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, personKey{}, opt.Person(c))
		},
		ErrorLog: slog.NewLogLogger(opt.Logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopMax)
		defer cancel()
		if server.Shutdown(wait) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers who is in the request's context.
func handler(desk Desk) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/approvals", func(w http.ResponseWriter, r *http.Request) {
		list, err := desk.Approvals(person(r))
		if list == nil {
			list = []guard.Record{}
		}
		respond(w, listJSON{list}, err)
	})
	mux.HandleFunc("POST /v1/approvals/{id}/approve", func(w http.ResponseWriter, r *http.Request) {
		a, err := readAnswer(r, true)
		settle(w, r, err, func(id string) (guard.Record, error) { return desk.Approve(id, person(r), a) })
	})
	mux.HandleFunc("POST /v1/approvals/{id}/deny", func(w http.ResponseWriter, r *http.Request) {
		a, err := readAnswer(r, false)
		settle(w, r, err, func(id string) (guard.Record, error) { return desk.Deny(id, person(r), a.Reason) })
	})
	return mux
}

func person(r *http.Request) guard.Person {
	by, _ := r.Context().Value(personKey{}).(guard.Person)
	return by
}

func settle(w http.ResponseWriter, r *http.Request, err error, give func(id string) (guard.Record, error)) {
	id := r.PathValue("id")
	if err == nil {
		err = CheckID(id)
	}
	var record guard.Record
	if err == nil {
		record, err = give(id)
	}
	respond(w, record, err)
}

func respond(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if err != nil {
		code, v = status(err), errorJSON{err.Error()}
	}
	body, err := json.Marshal(v)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}
