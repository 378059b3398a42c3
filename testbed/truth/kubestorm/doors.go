// Package kubestorm scores Sallyport against ground truth on a real Kubernetes
// cluster, as package truth does on Docker.
//
// Eight people and some programs run the same argv in the same containers, by
// every way that leads there, one upon the other, while the kubelet runs it too,
// as probe and hook. A command cannot be given a secret without Sallyport seeing
// it, so each is given one when it is there: it connects to a unix socket, the
// harness learns its host pid and start from the kernel and hands out a token,
// and the command prints that. Whoever asked for the command reads the token
// from its output, by whatever way he asked, and so is tied to the process. What
// nobody asked for is the kubelet's own.
package kubestorm

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/truth"
)

// The modes: what Sallyport is given to see besides the node itself.
const (
	Audit     truth.Mode = "kube: audit log"
	Admission truth.Mode = "kube: admission"
	Late      truth.Mode = "kube: audit 60 s late, reordered, duplicated, 1 % dropped"
	Open      truth.Mode = "kube: audit log, kubelet open to anybody"
)

// Modes lists the modes by the names of the flag -kube.
var Modes = map[string]truth.Mode{"audit": Audit, "admission": Admission, "late": Late, "open": Open}

// The doors of the storm.
const (
	ExecWS      truth.Door = "exec (WebSocket)"
	ExecMoment  truth.Door = "exec (two people at once)"
	ExecForged  truth.Door = "exec (another's audit id)"
	ExecKilled  truth.Door = "exec (client gone)"
	ExecAs      truth.Door = "exec (impersonating)"
	KubectlWS   truth.Door = "kubectl exec"
	KubectlSPDY truth.Door = "kubectl exec (SPDY)"
	KubectlAs   truth.Door = "kubectl exec --as"
	Script      truth.Door = "kubectl exec (a script)"
	Deputy      truth.Door = "kubectl in a pod"
	Stolen      truth.Door = "a pod's token, elsewhere"
	CopyIn      truth.Door = "kubectl cp, in"
	CopyOut     truth.Door = "kubectl cp, out"
	Denied      truth.Door = "exec, denied"
	DeniedCLI   truth.Door = "kubectl exec, denied"
	Attach      truth.Door = "attach"
	Forward     truth.Door = "kubectl port-forward"
	Ephemeral   truth.Door = "ephemeral container"
	DebugPod    truth.Door = "kubectl debug POD"
	DebugNode   truth.Door = "kubectl debug node"
	Pod         truth.Door = "pod"
	Deployment  truth.Door = "deployment, changed"
	Deployed    truth.Door = "deployment, its pod"
	Job         truth.Door = "job, its pod"
	CronJob     truth.Door = "cron job, made"
	StaticPod   truth.Door = "static pod"
	ExecBeside  truth.Door = "exec, beside the doors below"
	ProxyRun    truth.Door = "nodes/proxy run"
	ProxyExec   truth.Door = "nodes/proxy exec (fails)"
	KubeletRun  truth.Door = "kubelet /run"
	KubeletExec truth.Door = "kubelet /exec"
	AnyoneRun   truth.Door = "kubelet /run, anonymous"
	AnyoneExec  truth.Door = "kubelet /exec, anonymous"
	CRISync     truth.Door = "CRI ExecSync"
	CRIExec     truth.Door = "CRI Exec"
	Ctr         truth.Door = "ctr task exec"
	Nsenter     truth.Door = "nsenter"
	Probe       truth.Door = "exec probe"
	Hook        truth.Door = "postStart hook"
)

// Doors lists the doors in the order of the table.
var Doors = []truth.Door{
	ExecWS, ExecMoment, ExecForged, ExecKilled, ExecAs, KubectlWS, KubectlSPDY, KubectlAs, Script, Deputy, Stolen,
	CopyIn, CopyOut, Denied, DeniedCLI, Attach, Forward, Ephemeral, DebugPod, DebugNode, Pod, Deployment, Deployed,
	Job, CronJob, StaticPod, ProxyRun, ProxyExec,
	ExecBeside, KubeletRun, KubeletExec, AnyoneRun, AnyoneExec,
	CRISync, CRIExec, Ctr, Nsenter, Probe, Hook,
}

var (
	execChannels = []event.Channel{event.ChannelKubeExecWS, event.ChannelKubeExecSPDY}
	// directChannels are the ways to a container that pass the API server by.
	// Which it was need not be known.
	directChannels = []event.Channel{
		event.ChannelUnknown, event.ChannelKubeletRun, event.ChannelKubeletExec, event.ChannelKubeletExecWS,
		event.ChannelRuntimeCRI, event.ChannelRuntimeCtr,
	}
	ownKinds = []session.Kind{session.KindExec, session.KindProbe, session.KindHook}
)

// table says what the sessions of each door look like; expect adds what most
// doors have in common.
var table = map[truth.Door]truth.Expected{
	CopyIn:     asked(session.KindCopy, event.ChannelKubeCopy),
	CopyOut:    asked(session.KindCopy, event.ChannelKubeCopy),
	ProxyRun:   asked(session.KindExec, event.ChannelKubeNodeRun),
	ProxyExec:  named(session.KindExec, event.ChannelKubeNodeExec),
	Denied:     named(session.KindExec, execChannels...),
	DeniedCLI:  named(session.KindExec, execChannels...),
	Attach:     named(session.KindAttach, event.ChannelKubeAttach, event.ChannelKubeAttachWS),
	Forward:    named(session.KindForward, event.ChannelKubeForward),
	Ephemeral:  many(named(session.KindDebug, event.ChannelKubeEphemeral)),
	DebugPod:   many(named(session.KindDebug, event.ChannelKubeEphemeral)),
	DebugNode:  named(session.KindDebug, event.ChannelKubeDebugNode),
	Pod:        named(session.KindStart, event.ChannelKubePod),
	Deployment: named(session.KindChange, event.ChannelKubeWorkload),
	Deployed:   named(session.KindStart, event.ChannelKubeWorkload),
	Job:        named(session.KindStart, event.ChannelKubeCron, event.ChannelKubeWorkload),
	CronJob:    named(session.KindChange, event.ChannelKubeCron),
	StaticPod:  {Kinds: []session.Kind{session.KindStart}, Channels: []event.Channel{event.ChannelKubeletStatic}},
	ExecBeside: {Kinds: []session.Kind{session.KindExec}, Channels: execChannels, Least: session.LevelSet, Unsure: ownKinds},
	KubeletRun: direct(), KubeletExec: direct(), AnyoneRun: direct(), AnyoneExec: direct(),
	CRISync: direct(), CRIExec: direct(), Ctr: direct(),
	Nsenter: {Kinds: []session.Kind{session.KindEnter}, Channels: []event.Channel{event.ChannelHostNsenter}},
	Probe:   {Kinds: []session.Kind{session.KindProbe}, Channels: []event.Channel{event.ChannelKubeProbe}, Unsure: ownKinds},
	Hook:    {Kinds: []session.Kind{session.KindHook}, Channels: []event.Channel{event.ChannelKubeHook}, Unsure: ownKinds},
}

func expect(d truth.Door) truth.Expected {
	if want, ok := table[d]; ok {
		return want
	}
	return asked(session.KindExec, execChannels...)
}

// asked is a command that the API server was asked for: the required shares
// count it.
func asked(k session.Kind, cs ...event.Channel) truth.Expected {
	return truth.Expected{Kinds: []session.Kind{k}, Channels: cs, Counts: true, Least: session.LevelStrong, Unsure: ownKinds}
}

// named is what is known by the request alone, or by a name used once.
func named(k session.Kind, cs ...event.Channel) truth.Expected {
	return truth.Expected{Kinds: []session.Kind{k}, Channels: cs, Least: session.LevelStrong}
}

func many(w truth.Expected) truth.Expected {
	w.Many = true
	return w
}

func direct() truth.Expected {
	return truth.Expected{
		Kinds: []session.Kind{session.KindExec, session.KindRuntime}, Channels: directChannels, Beside: true, Unsure: ownKinds,
	}
}

// sheet scores one mode.
func sheet(mode truth.Mode) truth.Sheet {
	return truth.Sheet{Mode: mode, Doors: Doors, Expect: expect, Require: requirements}
}

func requirements(r truth.Result) []truth.Requirement {
	// Of nodes/proxy the webhook sees neither command nor container, so it cannot
	// keep two apart.
	exec := r.Sum(func(d truth.Door) bool { return expect(d).Counts && d != ProxyRun })
	beside := r.Sum(func(d truth.Door) bool { return expect(d).Beside })
	company := r.Sum(func(d truth.Door) bool { return expect(d).Counts || d == ExecBeside })
	exact, known := truth.Percent(exec.Exact, exec.Deeds), truth.Percent(exec.Exact+exec.Strong, exec.Deeds)
	inside := truth.Percent(company.Exact+company.Strong+company.Set, company.Deeds)
	// A set that is also unexplained counts once.
	shown := truth.Percent(beside.Exact+beside.Strong+max(beside.Unexplained, beside.Set), beside.Deeds)
	out := []truth.Requirement{
		{Name: "passing for the kubelet's own", Value: float64(r.Total.Disguised), Target: "0", OK: r.Total.Disguised == 0},
		{Name: "kubelet and runtime directly: attributed or unexplained", Value: shown, Unit: "%", Target: "100", OK: beside.Deeds == 0 || shown == 100},
	}
	if r.Mode == Admission {
		return append(out, truth.Requirement{Name: "pods/exec exact", Value: exact, Unit: "%", Target: "100", OK: exact == 100})
	}
	out = append(out, truth.Requirement{Name: "pods/exec exact or strong", Value: known, Unit: "%", Target: ">= 95", OK: known >= 95})
	if slices.Contains([]truth.Mode{Audit, Open}, r.Mode) {
		out = append(out, truth.Requirement{Name: "pods/exec, true actor named or in the set", Value: inside, Unit: "%", Target: "100", OK: inside == 100})
	}
	return out
}
