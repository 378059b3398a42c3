package kernel

import "strings"

// Level is how much of a host the sensor can see (design §1).
type Level string

// The levels. L1 (process connector, fanotify) is not built: a host without
// L2 is watched by its services' events alone.
const (
	LevelServices    Level = "L0"
	LevelTracepoints Level = "L2"
	LevelTrampolines Level = "L3"
)

// Feature is one thing of the kernel that the sensor uses, found by using it.
type Feature struct {
	// Name is a stable lower-case word, for example "tp_btf".
	Name string `json:"name"`
	// What it gives, for a person.
	What string `json:"what"`
	// Needed says that level L2 is impossible without it.
	Needed bool `json:"needed"`
	// Err is why it cannot be used; nil when it can.
	Err error `json:"-"`
	// Hint says what to do about Err.
	Hint string `json:"hint,omitempty"`
}

// Available reports whether the feature can be used.
func (f Feature) Available() bool { return f.Err == nil }

// Features is the result of Probe, in a fixed order.
type Features []Feature

// Get returns the feature of that name; an unknown name is an unavailable one.
func (fs Features) Get(name string) Feature {
	for _, f := range fs {
		if f.Name == name {
			return f
		}
	}
	return Feature{Name: name, Err: errUnknownFeature}
}

// Level returns what the host allows.
func (fs Features) Level() Level {
	if len(fs) == 0 || len(fs.missing()) > 0 {
		return LevelServices
	}
	if fs.Get(FeatureFentry).Available() && fs.Get(FeatureLSM).Available() {
		return LevelTrampolines
	}
	return LevelTracepoints
}

func (fs Features) missing() Features {
	var out Features
	for _, f := range fs {
		if f.Needed && !f.Available() {
			out = append(out, f)
		}
	}
	return out
}

// The features that Probe reports.
const (
	FeatureCapabilities = "capabilities"
	FeatureBTF          = "btf"
	FeatureTracepoints  = "tp_btf"
	FeatureReadKernel   = "read_kernel"
	FeatureLoop         = "bpf_loop"
	FeatureTaskStorage  = "task_storage"
	FeatureRingBuffer   = "ringbuf"
	FeatureTaskIterator = "iter_task"
	FeatureConnectUnix  = "connect_unix"
	FeatureSockLength   = "sock_length"
	FeatureTCPState     = "tcp_state"
	FeatureFentry       = "fentry"
	FeatureLSM          = "lsm"
)

// UnavailableError says that the kernel sensor cannot run here: what is missing
// and how to get it. The rest of Sallyport works without, at level L0.
type UnavailableError struct {
	Missing Features
}

// Error implements error.
func (e *UnavailableError) Error() string {
	var parts []string
	for _, f := range e.Missing {
		parts = append(parts, f.Name+": "+f.Err.Error())
	}
	return "kernel sensor unavailable: " + strings.Join(parts, "; ")
}

// Hint says what to do, one sentence for each missing feature.
func (e *UnavailableError) Hint() string {
	var parts []string
	for _, f := range e.Missing {
		if f.Hint != "" {
			parts = append(parts, f.Hint)
		}
	}
	return strings.Join(parts, " ")
}

type constError string

func (e constError) Error() string { return string(e) }

const (
	errUnknownFeature constError = "no such feature is known"
	errNotLinux       constError = "not Linux on amd64 or arm64"
	errNeverRun       constError = "the program loads and never runs: bpf is not among the active security modules"
	errNotPermitted   constError = "not permitted to load BPF programs"
)
