// Package kernel is the process door's witness: an eBPF sensor that sees every
// entry into a container, what runs there, who connects to a service socket
// and what the service is asked.
//
// It rests on BTF tracepoints alone (level L2): no kprobes, no trampolines, no
// LSM, and no syscall tracepoint, because one enabled syscall tracepoint taxes
// every syscall of the host. Processes that belong to no container leave the
// programs within a few instructions.
//
// The kernel side is bpf/sensor.bpf.c. This side decodes its records, names
// containers, and turns the client request tap on and off (Mode).
package kernel

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Mode says when clients' requests are read at the service's socket.
type Mode string

// The modes. ModeAuto attaches the two socket programs when a client connects
// or a known client program starts, and detaches them Linger after the last
// client connection is gone.
const (
	ModeAuto   Mode = "auto"
	ModeAlways Mode = "always"
	ModeOff    Mode = "off"
)

// Socket is a unix socket on which a service listens.
type Socket struct {
	Service event.Service
	Path    string
}

// Port is a TCP port on which a service listens.
type Port struct {
	Service event.Service
	// Address is where it listens: one address, or the unspecified one, which
	// for IPv6 includes IPv4.
	Address netip.AddrPort
	// Plain says that clients may speak without TLS. What they ask is then read,
	// on those connections where they do; of others only the clients are known.
	Plain bool
	// Process is a process in the listener's network namespace, best the
	// listener itself; 0 is the sensor.
	Process uint32
	// Believed says that Process is the service, and no other process is.
	Believed bool
}

// Door is the name of a port in event.WitnessState.
func (p Port) Door() string { return "tcp " + p.Address.String() }

// Options configures a Sensor. The zero value of a field means its default.
type Options struct {
	// Requests defaults to ModeAuto.
	Requests Mode
	// Sockets are the service sockets whose clients are watched.
	Sockets []Socket
	// Ports are the TCP ports whose clients are watched from the beginning; see
	// Sensor.SetPorts.
	Ports []Port
	// OnSegment parses what clients and services say to each other. What it
	// returns is emitted in order. It is called from one goroutine. Without it
	// requests are not read.
	OnSegment func(event.Segment) []event.Observation
	// Linger is how long the request tap of ModeAuto stays attached after the
	// last client connection is gone. Default 10 s.
	Linger time.Duration
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Requests == "" {
		o.Requests = ModeAuto
	}
	if o.OnSegment == nil {
		o.Requests = ModeOff
	}
	if o.Linger <= 0 {
		o.Linger = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Status is what the sensor does now and what it has cost.
type Status struct {
	// Level is what this sensor runs at; "" before Run has loaded it.
	Level Level `json:"level,omitempty"`
	// Mode is the configured mode; Requests says whether the tap is attached
	// now and Reason why or why not.
	Mode     Mode   `json:"mode"`
	Requests bool   `json:"requests"`
	Reason   string `json:"reason,omitempty"`
	// Peers says that connecting clients are seen.
	Peers bool `json:"peers"`
	// Doors are the TCP doors whose clients are seen.
	Doors []string `json:"doors,omitempty"`
	// Connections counts the open client connections that are known.
	Connections int       `json:"connections"`
	Programs    []Program `json:"programs,omitempty"`
	Lost        []Lost    `json:"lost,omitempty"`
	// Malformed counts records that could not be decoded.
	Malformed uint64 `json:"malformed,omitempty"`
}

// Program is the cost of one BPF program since Run loaded it. Both figures
// stay 0 where the kernel refuses to keep statistics.
type Program struct {
	Name string        `json:"name"`
	Runs uint64        `json:"runs"`
	Time time.Duration `json:"time_ns"`
}

// Lost counts the records of one stream ("process", "requests") that found no
// room on one CPU.
type Lost struct {
	CPU    int    `json:"cpu"`
	Stream string `json:"stream"`
	Count  uint64 `json:"count"`
}
