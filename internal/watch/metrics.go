package watch

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves what a running engine says of itself:
//
//	/healthz  200 while records are being stored, 503 with the reason otherwise
//	/status   Status as JSON
//	/metrics  the same figures for Prometheus
//
// It holds no names and no command lines: only figures and states.
func (e *Engine) Handler(version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{e, version})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", e.serveHealth)
	mux.HandleFunc("GET /status", e.serveStatus)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

func (e *Engine) serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s := e.Status(); s.Link != nil && s.Link.SpoolError != "" {
		http.Error(w, "spool fails: "+s.Link.SpoolError, http.StatusServiceUnavailable)
		return
	}
	if s := e.outbox.status(); !s.OK {
		http.Error(w, "store fails since "+s.FailingSince.Format(time.RFC3339)+": "+s.LastError, http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (e *Engine) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(e.Status())
}

// collector turns a Status into metrics, so that both always say the same.
type collector struct {
	engine  *Engine
	version string
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sallyport_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector: it describes nothing, because
// programs and counters are known only at run time.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.engine.Status()
	gauge := func(v float64, d *prometheus.Desc, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(v float64, d *prometheus.Desc, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(1, desc("build_info", "The version that runs.", "version"), c.version)
	gauge(float64(s.Started.UnixNano())/1e9, desc("start_time_seconds", "When the engine started, Unix time."))
	for _, w := range s.Witnesses {
		name := string(w.Name)
		gauge(boolean(w.Up), desc("witness_up", "Whether a witness sees.", "witness", "level"), name, w.Level)
		count(float64(w.Observations), desc("observations_total", "Observations by witness.", "witness"), name)
		count(float64(w.Restarts), desc("witness_restarts_total", "Times a witness was started again.", "witness"), name)
	}
	for _, q := range s.Queues {
		gauge(float64(q.Length), desc("queue_length", "What waits in a bounded queue.", "queue"), q.Name)
		gauge(float64(q.Limit), desc("queue_limit", "What a bounded queue can hold.", "queue"), q.Name)
	}
	for _, l := range s.Losses {
		count(float64(l.Count), desc("lost_total", "What was lost or dropped, by whom and why.", "witness", "reason"), string(l.Witness), l.Reason)
	}
	count(float64(s.Revisions), desc("revisions_total", "Session revisions that correlation brought."))
	count(float64(s.BlockedNS)/1e9, desc("witness_blocked_seconds_total", "How long witnesses waited for room."))
	gauge(boolean(s.Store.OK), desc("store_up", "Whether the store takes records."))
	gauge(float64(s.Store.Bytes), desc("store_bytes", "Size of the store on disk."))
	count(float64(s.Store.Appends), desc("store_appends_total", "Commits."))
	count(float64(s.Store.Errors), desc("store_errors_total", "Commits that failed."))
	count(float64(s.Store.Revisions), desc("store_revisions_total", "Session revisions acknowledged by the store."))
	for _, o := range []struct {
		kind string
		n    int
	}{{"exec", s.Open.Execs}, {"run", s.Open.Runs}, {"entry", s.Open.Entries}, {"stream", s.Open.Streams}, {"connection", s.Open.Connections}, {"request", s.Open.Requests}} {
		gauge(float64(o.n), desc("open", "What correlation holds open.", "kind"), o.kind)
	}
	for name, n := range s.Counters {
		count(float64(n), desc(name+"_total", "Counted by a witness."))
	}
	if s.Sensor != nil {
		c.sensor(s.Sensor, gauge, count)
	}
	c.pods(s.Pods, gauge, count)
	c.admission(s.Admission, count)
	c.link(s.Link, gauge, count)
	c.nodes(s.Nodes, gauge, count)
	exports(s.Exports, gauge, count)
	c.rules(s.Rules, gauge, count)
}

// rules gives what the rules do.
func (c collector) rules(r *Rules, gauge, count metric) {
	if r == nil {
		return
	}
	gauge(float64(r.Rules), desc("rules", "Rules at work."))
	gauge(boolean(r.Error == ""), desc("rules_current", "Whether the rules at work are those of the files."))
	count(float64(r.Failed), desc("rules_reload_failures_total", "Times that rules could not be loaded again."))
	count(float64(r.Findings), desc("findings_total", "Findings of rules that were stored."))
	count(float64(r.Dropped), desc("findings_dropped_total", "Findings of rules that could not be stored."))
	count(float64(r.Stats.Suppressed), desc("rules_suppressed_total", "Findings that suppressions prevented."))
	count(float64(r.Stats.Undecided), desc("rules_undecided_total", "Conditions that nobody could tell, of rules that let those pass."))
	count(float64(r.Stats.Forgotten), desc("rules_forgotten_total", "Keys of counts and sequences that went for others."))
	for rule, n := range r.Stats.Errors {
		count(float64(n), desc("rule_errors_total", "Conditions that could not be evaluated.", "rule"), rule)
	}
}

// pods gives what is known of the API server's pods.
func (c collector) pods(p *Pods, gauge, count metric) {
	if p == nil {
		return
	}
	gauge(float64(p.Known), desc("pods_known", "Pods that the API server has."))
	count(float64(p.Reported), desc("pods_reported_total", "Pods that were new, changed or gone."))
	count(float64(p.Unchanged), desc("pods_unchanged_total", "Changes of pods that concern no command."))
	count(float64(p.Lists), desc("pods_lists_total", "Lists of all pods."))
	count(float64(p.Watches), desc("pods_watches_total", "Watches of pods that were begun; one lasts some five minutes."))
	count(float64(p.Malformed), desc("pods_malformed_total", "Records of pods that were not understood."))
}

// admission gives what the admission webhook and its gate have done.
func (c collector) admission(a *Admission, count metric) {
	if a == nil {
		return
	}
	count(float64(a.Reviews), desc("admission_reviews_total", "Reviews that the admission webhook has answered."))
	count(float64(a.Reported), desc("admission_requests_total", "Reviews that concern a command."))
	count(float64(a.Late), desc("admission_late_total", "Reviews for which the API server no longer waited."))
	count(float64(a.Busy), desc("admission_busy_total", "Reviews turned away because too many were under way."))
	count(float64(a.Malformed), desc("admission_malformed_total", "Reviews that were not understood."))
	count(float64(a.Panics), desc("admission_panics_total", "Reviews in which the webhook failed."))
	count(float64(a.Passed), desc("gate_passed_total", "Execs in pods that the gate let go."))
	count(float64(a.Alone), desc("gate_alone_total", "Execs that were let go with no other under way that could be taken for them."))
	count(float64(a.Held), desc("gate_held_total", "Execs that the gate held."))
	count(float64(a.Vain), desc("gate_held_in_vain_total", "Execs that were held as long as may be, in vain."))
	count(a.HeldFor.Seconds(), desc("gate_held_seconds_total", "How long execs were held, together."))
	count(float64(a.Started), desc("gate_started_total", "Starts of processes that settled a request."))
	count(float64(a.Over), desc("gate_over_total", "Ends of requests that settled them."))
	count(float64(a.Strange), desc("gate_strange_total", "Starts of processes in pods that nobody had asked for at the gate."))
}

// link gives a node's way to its collector.
func (c collector) link(l *Link, gauge, count metric) {
	if l == nil {
		return
	}
	gauge(boolean(l.Connected), desc("link_up", "Whether the node is linked to its collector."))
	count(float64(l.Connects), desc("link_connects_total", "Connections to the collector."))
	gauge(float64(l.SpoolBytes), desc("spool_bytes", "Size of the node's spool on disk."))
	gauge(float64(l.SpoolLimit), desc("spool_limit_bytes", "What the node's spool can hold."))
	gauge(float64(l.Waiting), desc("spool_waiting", "Observations that the collector has not acknowledged."))
	count(float64(l.Lost), desc("spool_lost_total", "Observations dropped from a full spool or by a failing disk."))
}

// nodes gives a collector's nodes.
func (c collector) nodes(list []NodeStatus, gauge, count metric) {
	for _, n := range list {
		gauge(boolean(n.Connected), desc("node_up", "Whether a node is linked.", "node"), n.Name)
		gauge(boolean(n.Silent), desc("node_silent", "Whether time goes on without a node.", "node"), n.Name)
		count(float64(n.Observations), desc("node_observations_total", "Observations of a node.", "node"), n.Name)
		count(float64(n.Duplicates), desc("node_duplicates_total", "Observations of a node that came again.", "node"), n.Name)
		count(float64(n.Foreign), desc("node_foreign_total", "Observations that were not the node's to tell.", "node"), n.Name)
		if n.ClockOffsetNS != nil {
			gauge(float64(*n.ClockOffsetNS)/1e9, desc("node_clock_offset_seconds", "A node's clock minus the collector's.", "node"), n.Name)
			gauge(float64(*n.ClockErrorNS)/1e9, desc("node_clock_error_seconds", "The most by which a node's clock offset can be wrong.", "node"), n.Name)
		}
	}
}

type metric func(v float64, d *prometheus.Desc, labels ...string)

func (c collector) sensor(s *Sensor, gauge, count metric) {
	gauge(boolean(s.Requests), desc("client_requests_on", "Whether client requests are read now.", "mode"), s.Mode)
	gauge(float64(s.Connections), desc("client_connections", "Open client connections to service sockets."))
	for _, p := range s.Programs {
		count(float64(p.Runs), desc("bpf_program_runs_total", "Runs of a BPF program.", "program"), p.Name)
		count(p.Time.Seconds(), desc("bpf_program_seconds_total", "Time spent in a BPF program.", "program"), p.Name)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func exports(list []Export, gauge, count metric) {
	for _, x := range list {
		count(float64(x.Queued), desc("export_queued_total", "Records put into an export's queue.", "export"), x.Name)
		count(float64(x.Sent), desc("export_sent_total", "Records that an export's receiver has taken.", "export"), x.Name)
		count(float64(x.Retries), desc("export_retries_total", "Attempts of an export that failed and were made again.", "export"), x.Name)
		count(float64(x.Dead), desc("export_dead_total", "Records that an export's receiver refuses, written to the dead letter file.", "export"), x.Name)
		count(float64(x.Dropped), desc("export_dropped_total", "Records refused while the dead letter file was full: lost.", "export"), x.Name)
		count(float64(x.Missed), desc("export_missed_total", "Records that retention removed before they were exported.", "export"), x.Name)
		count(float64(x.Damaged), desc("export_queue_damaged_total", "Times a part of an export's queue could not be read and was filled again.", "export"), x.Name)
		gauge(float64(x.Waiting), desc("export_waiting", "Records in an export's queue.", "export"), x.Name)
		gauge(float64(x.QueueBytes), desc("export_queue_bytes", "Size of an export's queue on disk.", "export"), x.Name)
		gauge(float64(x.QueueLimit), desc("export_queue_limit_bytes", "Bound of an export's queue on disk.", "export"), x.Name)
		gauge(boolean(x.Full), desc("export_queue_full", "Whether an export's queue has no room, so that nothing more is taken.", "export"), x.Name)
		gauge(boolean(!x.FailingSince.IsZero()), desc("export_failing", "Whether an export's last attempt failed.", "export"), x.Name)
	}
}
