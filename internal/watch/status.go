package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
)

// Status is what the engine does now and what it has cost and lost since it
// started. Its JSON form is what /status serves.
type Status struct {
	Started   time.Time       `json:"started"`
	Witnesses []WitnessStatus `json:"witnesses"`
	Queues    []Queue         `json:"queues"`
	Losses    []Loss          `json:"losses"`
	Store     StoreStatus     `json:"store"`
	// Revisions counts what correlation brought; Resumed the sessions of an
	// earlier run that were still running and that it took over.
	Revisions uint64 `json:"revisions"`
	Resumed   uint64 `json:"resumed"`
	// BlockedNS is how long witnesses have waited for room, in nanoseconds,
	// summed over all of them.
	BlockedNS int64             `json:"blocked_ns"`
	Open      Open              `json:"open"`
	Sensor    *Sensor           `json:"sensor,omitempty"`
	Pods      *Pods             `json:"pods,omitempty"`
	Admission *Admission        `json:"admission,omitempty"`
	Counters  map[string]uint64 `json:"counters,omitempty"`
	Link      *Link             `json:"link,omitempty"`
	Nodes     []NodeStatus      `json:"nodes,omitempty"`
	Exports   []Export          `json:"exports,omitempty"`
	Rules     *Rules            `json:"rules,omitempty"`
}

// Rules is how the rules at work are.
type Rules struct {
	Path   string    `json:"path"`
	Rules  int       `json:"rules"`
	Loaded time.Time `json:"loaded"`
	// Error says why they could not be loaded again; those loaded before are at
	// work.
	Error    string       `json:"error,omitempty"`
	Failed   uint64       `json:"failed"`   // times that they could not be loaded again
	Findings uint64       `json:"findings"` // stored
	Dropped  uint64       `json:"dropped"`  // findings that could not be stored
	Stats    policy.Stats `json:"stats"`
}

// Export is how the sending of sessions and findings to another system goes.
// Counts are of records since the start.
type Export struct {
	Name         string    `json:"name"`
	Queued       uint64    `json:"queued"`
	Waiting      uint64    `json:"waiting"` // in the queue now
	Sent         uint64    `json:"sent"`
	Retries      uint64    `json:"retries"`
	Dead         uint64    `json:"dead"`    // refused, in the dead letter file
	Dropped      uint64    `json:"dropped"` // refused, and no room in that file
	Damaged      uint64    `json:"damaged"` // times a part of the queue was filled again
	Missed       uint64    `json:"missed"`  // removed by retention before they were read
	QueueBytes   int64     `json:"queue_bytes"`
	QueueLimit   int64     `json:"queue_limit_bytes"`
	Full         bool      `json:"full,omitempty"`
	LastSent     time.Time `json:"last_sent,omitzero"`
	LastError    string    `json:"last_error,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	SourceError  string    `json:"source_error,omitempty"`
}

// Link is how a node's way to its collector is.
type Link struct {
	Collector string    `json:"collector"`
	Node      string    `json:"node,omitempty"` // by which the collector knows us
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Reason    string    `json:"reason,omitempty"` // why it is not connected
	Connects  uint64    `json:"connects"`
	// SpoolBytes is the size of the spool, SpoolLimit its bound.
	SpoolBytes int64 `json:"spool_bytes"`
	SpoolLimit int64 `json:"spool_limit"`
	// Waiting counts observations that the collector has not acknowledged; Put
	// and Acknowledged are the numbers of the latest.
	Waiting      uint64 `json:"waiting"`
	Put          uint64 `json:"put"`
	Acknowledged uint64 `json:"acknowledged"`
	Lost         uint64 `json:"lost"` // dropped from the spool
	// AheadNS is by how much at most this clock is ahead of the collector's; absent
	// while it was not measured.
	AheadNS *int64 `json:"ahead_ns,omitempty"`
	// SpoolError says why the spool's disk takes nothing.
	SpoolError string `json:"spool_error,omitempty"`
}

// NodeStatus is how a node is, seen from its collector.
type NodeStatus struct {
	Name      string    `json:"name"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Address   string    `json:"address,omitempty"`
	// Heard is up to when its stream is complete, by its own clock.
	Heard time.Time `json:"heard,omitzero"`
	// Silent says that time goes on without it.
	Silent bool `json:"silent,omitempty"`
	// ClockOffsetNS is its clock minus ours, ClockErrorNS the most by which
	// that can be wrong; absent while it was not measured.
	ClockOffsetNS *int64          `json:"clock_offset_ns,omitempty"`
	ClockErrorNS  *int64          `json:"clock_error_ns,omitempty"`
	Seen          uint64          `json:"seen"`
	Acknowledged  uint64          `json:"acknowledged"`
	Observations  uint64          `json:"observations"`
	Duplicates    uint64          `json:"duplicates"`
	Foreign       uint64          `json:"foreign"` // that a node may not tell
	Connects      uint64          `json:"connects"`
	Witnesses     []WitnessStatus `json:"witnesses,omitempty"`
}

// Open counts what correlation holds.
type Open struct {
	Execs       int    `json:"execs"`
	Runs        int    `json:"runs"`
	Entries     int    `json:"entries"`
	Streams     int    `json:"streams"`
	Containers  int    `json:"containers"`
	Connections int    `json:"connections"`
	Requests    int    `json:"requests"`
	Late        uint64 `json:"late"`
}

// WitnessStatus is how one witness is.
type WitnessStatus struct {
	Name  event.Witness `json:"name"`
	Up    bool          `json:"up"`
	Since time.Time     `json:"since,omitzero"`
	// Reason says why it is down or limited.
	Reason       string   `json:"reason,omitempty"`
	Level        string   `json:"level,omitempty"`
	Peers        bool     `json:"peers,omitempty"`
	Requests     bool     `json:"requests,omitempty"`
	OpenDoors    []string `json:"open_doors,omitempty"`
	TCPDoors     []string `json:"tcp_doors,omitempty"`
	Observations uint64   `json:"observations"`
	Restarts     uint64   `json:"restarts"`
}

// Queue is one bounded queue.
type Queue struct {
	Name   string `json:"name"`
	Length int    `json:"length"`
	Limit  int    `json:"limit"`
}

// Loss counts what was lost or dropped for one reason.
type Loss struct {
	Witness event.Witness `json:"witness"`
	Reason  string        `json:"reason"`
	Count   uint64        `json:"count"`
}

// StoreStatus is how the store does.
type StoreStatus struct {
	OK           bool      `json:"ok"`
	FailingSince time.Time `json:"failing_since,omitzero"`
	LastError    string    `json:"last_error,omitempty"`
	Appends      uint64    `json:"appends"` // commits
	Errors       uint64    `json:"errors"`
	Revisions    uint64    `json:"revisions"` // acknowledged
	Bytes        int64     `json:"bytes,omitempty"`

	UnsavedObservations int    `json:"unsaved_observations"`
	UnsavedRevisions    int    `json:"unsaved_revisions"`
	DroppedObservations uint64 `json:"dropped_observations"`
	DroppedRevisions    uint64 `json:"dropped_revisions"`
}

// Sensor is what the kernel sensor does and costs.
type Sensor struct {
	Level       string    `json:"level,omitempty"`
	Mode        string    `json:"mode,omitempty"`
	Requests    bool      `json:"requests"`
	Reason      string    `json:"reason,omitempty"`
	Peers       bool      `json:"peers"`
	Doors       []string  `json:"doors,omitempty"` // on TCP, whose clients are seen
	Connections int       `json:"connections"`
	Programs    []Program `json:"programs,omitempty"`
	Malformed   uint64    `json:"malformed"`
}

// Pods is what the witness of the API server's pods knows and has done since it
// was started.
type Pods struct {
	Known     uint64 `json:"known"`     // now
	Reported  uint64 `json:"reported"`  // new, changed or gone
	Unchanged uint64 `json:"unchanged"` // changes that concern no command
	Lists     uint64 `json:"lists"`     // of all pods
	Watches   uint64 `json:"watches"`   // begun
	Malformed uint64 `json:"malformed"` // records not understood
}

// Admission is what the admission webhook and its gate have done since it was
// started.
type Admission struct {
	Reviews   uint64 `json:"reviews"`   // answered
	Reported  uint64 `json:"reported"`  // of these, those that concern a command
	Late      uint64 `json:"late"`      // of these, those for which nobody waited any more
	Busy      uint64 `json:"busy"`      // turned away, too many at once
	Malformed uint64 `json:"malformed"` // not understood
	Panics    uint64 `json:"panics"`

	Passed  uint64        `json:"passed"` // execs that were let go
	Alone   uint64        `json:"alone"`  // of these, with nobody to be taken for
	Held    uint64        `json:"held"`   // of these, after a wait
	Vain    uint64        `json:"vain"`   // of these, after a wait in vain
	HeldFor time.Duration `json:"held_ns"`
	Started uint64        `json:"started"` // processes that settled one
	Over    uint64        `json:"over"`    // ends of requests that did
	Strange uint64        `json:"strange"` // processes that nobody had asked for here
}

// Program is the cost of one kernel program.
type Program struct {
	Name string        `json:"name"`
	Runs uint64        `json:"runs"`
	Time time.Duration `json:"time_ns"`
}

// Status returns a snapshot. It is safe for concurrent use.
func (e *Engine) Status() Status {
	s := Status{
		Started:   e.started.UTC(),
		Witnesses: e.witnesses(),
		Store:     e.outbox.status(),
		Revisions: e.feed.revisions.Load(),
		Resumed:   e.feed.resumed.Load(),
		BlockedNS: e.source.blocked.Load(),
		Open:      Open(*e.feed.open.Load()),
	}
	if e.opt.StoreSize != nil {
		s.Store.Bytes = e.opt.StoreSize()
	}
	if e.opt.Sensor != nil {
		sensor := e.opt.Sensor()
		s.Sensor = &sensor
	}
	if e.opt.Pods != nil {
		s.Pods = e.opt.Pods()
	}
	if e.opt.Admission != nil {
		s.Admission = e.opt.Admission()
	}
	if e.opt.Counters != nil {
		s.Counters = e.opt.Counters()
	}
	if e.opt.Link != nil {
		link := e.opt.Link()
		s.Link = &link
	}
	if e.opt.Exports != nil {
		s.Exports = e.opt.Exports()
	}
	if e.opt.Nodes != nil {
		s.Nodes = e.opt.Nodes()
	}
	if e.opt.Rules != nil {
		s.Rules = e.opt.Rules()
	}
	s.Queues = []Queue{
		{"observations", len(e.source.queue), cap(e.source.queue)},
		{"unsaved_observations", s.Store.UnsavedObservations, e.opt.Unsaved},
		{"unsaved_revisions", s.Store.UnsavedRevisions, e.opt.UnsavedMax},
		{"delivery", len(e.delivery.queue), cap(e.delivery.queue)},
	}
	s.Losses = e.losses(s)
	return s
}

func (e *Engine) witnesses() []WitnessStatus {
	e.feed.mu.Lock()
	defer e.feed.mu.Unlock()
	var out []WitnessStatus
	for _, w := range e.opt.Witnesses {
		stats, state := e.source.stats[w.Name], e.feed.states[w.Name]
		if w.Optional && state.Time.IsZero() {
			continue
		}
		out = append(out, WitnessStatus{
			Name: w.Name, Up: state.Up, Since: state.Time, Reason: state.Reason, Level: state.Level,
			Peers: state.Peers, Requests: state.Requests, OpenDoors: state.OpenDoors, TCPDoors: state.TCPDoors,
			Observations: stats.observations.Load(), Restarts: stats.restarts.Load(),
		})
	}
	return out
}

// The reasons for which Sallyport itself drops something.
const (
	reasonStoreObservations = "store_failing_observations" // kept observations
	reasonStoreRevisions    = "store_failing_revisions"    // sessions
	reasonSlowReader        = "slow_reader"                // live output; the store has it
	reasonStopped           = "stopped"                    // said by a witness that did not stop in time
	reasonLate              = "late"                       // evidence for a session closed for good
)

// losses lists every reason for which something can be lost, also those that
// stand at 0: a reader must be able to tell nothing lost from not counted.
func (e *Engine) losses(s Status) []Loss {
	engine := event.WitnessEngine
	out := []Loss{
		{engine, reasonStoreObservations, s.Store.DroppedObservations},
		{engine, reasonStoreRevisions, s.Store.DroppedRevisions},
		{engine, reasonSlowReader, e.delivery.missed.Load()},
		{engine, reasonStopped, e.source.strays.Load()},
		{engine, reasonLate, s.Open.Late},
	}
	seen := map[lossKey]uint64{
		{event.WitnessKernel, "process"}:    0,
		{event.WitnessKernel, "requests"}:   0,
		{event.WitnessDocker, "events"}:     0,
		{event.WitnessContainerd, "events"}: 0,
	}
	for _, w := range e.opt.Witnesses {
		switch w.Name {
		case event.WitnessAdmission:
			seen[lossKey{w.Name, "admissions"}] = 0
		case event.WitnessAudit:
			seen[lossKey{w.Name, "events"}], seen[lossKey{w.Name, "dropped"}] = 0, 0
		}
	}
	e.feed.mu.Lock()
	for k, n := range e.feed.losses {
		seen[k] = n
	}
	e.feed.mu.Unlock()
	if s.Sensor != nil {
		seen[lossKey{event.WitnessKernel, "malformed"}] = s.Sensor.Malformed
	}
	for k, n := range seen {
		out = append(out, Loss{k.witness, k.what, n})
	}
	slices.SortFunc(out, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Witness, b.Witness), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
