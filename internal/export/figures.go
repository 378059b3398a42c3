package export

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/export/queue"
)

// Stats says how an export does. Counts are of records since Run began.
type Stats struct {
	Name    string `json:"name"`
	Queued  uint64 `json:"queued"`  // put into the queue
	Waiting uint64 `json:"waiting"` // in the queue now
	Sent    uint64 `json:"sent"`
	Retries uint64 `json:"retries"` // attempts that failed and were made again
	Dead    uint64 `json:"dead"`    // written to the dead letter file
	Dropped uint64 `json:"dropped"` // lost for good: the dead letter file was full
	Damaged uint64 `json:"damaged"` // times a part of the queue could not be read and was filled again

	// Missed counts records that the source had removed before they were read:
	// the queue was full, or the export off, for longer than they are kept.
	Missed uint64 `json:"missed"`

	QueueBytes int64 `json:"queue_bytes"`
	QueueLimit int64 `json:"queue_limit_bytes"`
	// Full says that the queue has no room: the source is not read on.
	Full      bool      `json:"full,omitempty"`
	LastSent  time.Time `json:"last_sent,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	// FailingSince is when the attempts began to fail; zero while they do not.
	FailingSince time.Time `json:"failing_since,omitzero"`
	SourceError  string    `json:"source_error,omitempty"`
}

// Stats returns the present figures.
func (e *Exporter) Stats() Stats {
	s := e.stats.get()
	s.Name = e.opt.Name
	return s
}

// logEvery is how often a failure that lasts is said again.
const logEvery = time.Minute

// figures counts, and says in the log what somebody should know.
type figures struct {
	mu    sync.Mutex
	queue *queue.Queue // guarded by mu
	stats Stats        // guarded by mu
	said  time.Time    // guarded by mu; when a failure was last logged
}

func (f *figures) attach(q *queue.Queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = q
}

func (f *figures) get() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	if f.queue != nil {
		q := f.queue.Stats()
		s.Waiting, s.QueueBytes, s.QueueLimit, s.Damaged = q.Entries, q.Bytes, q.Limit, q.Damaged
	}
	return s
}

func (f *figures) queued(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Queued += uint64(n)
}

func (f *figures) sent(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Sent += uint64(n)
	f.stats.LastSent = time.Now().UTC()
}

// fullness notes whether the queue has room.
func (f *figures) fullness(log *slog.Logger, full bool) {
	f.mu.Lock()
	was := f.stats.Full
	f.stats.Full = full
	f.mu.Unlock()
	switch {
	case full && !was:
		log.Error("the export queue is full: nothing more is taken until the receiver takes what is in it")
	case was && !full:
		log.Info("the export queue has room again")
	}
}

// sourceOutcome notes whether the source could be read.
func (f *figures) sourceOutcome(log *slog.Logger, err error) {
	f.mu.Lock()
	was := f.stats.SourceError
	f.stats.SourceError = ""
	if err != nil {
		f.stats.SourceError = err.Error()
	}
	now := f.stats.SourceError
	f.mu.Unlock()
	switch {
	case now != "" && now != was:
		log.Error("what is to be exported cannot be read", slog.Any("error", err))
	case now == "" && was != "":
		log.Info("what is to be exported can be read again")
	}
}

// failed notes an attempt that is made again.
func (f *figures) failed(log *slog.Logger, err error, wait time.Duration) {
	f.mu.Lock()
	f.stats.Retries++
	now := time.Now().UTC()
	fresh := f.stats.FailingSince.IsZero()
	if fresh {
		f.stats.FailingSince = now
	}
	f.stats.LastError = err.Error()
	say := fresh || now.Sub(f.said) > logEvery
	if say {
		f.said = now
	}
	f.mu.Unlock()
	if say {
		log.Warn("export failed and is tried again", slog.Any("error", err), slog.Duration("wait", wait))
	}
}

// recovered notes that sending works.
func (f *figures) recovered(log *slog.Logger) {
	f.mu.Lock()
	since := f.stats.FailingSince
	f.stats.FailingSince = time.Time{}
	f.mu.Unlock()
	if !since.IsZero() {
		log.Info("export works again", slog.Time("failing_since", since))
	}
}

// died notes n records that nobody takes; err says that not even the dead
// letter file did.
func (f *figures) died(log *slog.Logger, n int, reason string, err error) {
	f.mu.Lock()
	if err == nil {
		f.stats.Dead += uint64(n)
	} else {
		f.stats.Dropped += uint64(n)
	}
	f.stats.LastError = reason
	f.mu.Unlock()
	if err != nil {
		log.Error("records that the receiver refuses are lost", slog.Int("records", n), slog.String("reason", reason), slog.Any("error", err))
		return
	}
	log.Error("the receiver refuses records; they are in the dead letter file", slog.Int("records", n), slog.String("reason", reason))
}

// missed notes n records that the source has no more.
func (f *figures) missed(log *slog.Logger, n, after, before int64) {
	f.mu.Lock()
	f.stats.Missed += uint64(n)
	f.mu.Unlock()
	log.Error("records were removed by retention before they were exported",
		slog.Int64("records", n), slog.Int64("after", after), slog.Int64("before", before))
}

// dropped notes a record that has no written form.
func (f *figures) dropped(log *slog.Logger, position int64, err error) {
	f.mu.Lock()
	f.stats.Dropped++
	f.stats.LastError = err.Error()
	f.mu.Unlock()
	log.Error("a record cannot be written and is not exported", slog.Int64("position", position), slog.Any("error", err))
}
