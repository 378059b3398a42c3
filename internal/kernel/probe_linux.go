//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const license = "Dual BSD/GPL"

// Probe finds out what the kernel allows by doing it: it loads a program of two
// instructions of each kind, makes a map of each kind and throws them away.
// Kernel configuration says less: a hardened kernel may refuse what it was built
// with. It takes some tenths of a second.
func Probe() Features {
	fs := Features{
		{Name: FeatureCapabilities, What: "permission to load programs", Needed: true,
			Hint: "Run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN and CAP_SYS_PTRACE."},
		{Name: FeatureBTF, What: "the kernel's own types", Needed: true,
			Hint: "Use a kernel with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux), as all large distributions have since 2021."},
		{Name: FeatureTracepoints, What: "processes and entries", Needed: true,
			Hint: "Use Linux 5.17 or later and allow BPF tracing programs."},
		{Name: FeatureReadKernel, What: "what the kernel knows of a process", Needed: true,
			Hint: "Boot without lockdown=confidentiality: it keeps BPF programs from reading the kernel's memory."},
		{Name: FeatureLoop, What: "paths and long argument lists", Needed: true, Hint: "Use Linux 5.17 or later."},
		{Name: FeatureTaskStorage, What: "labels that a process tree inherits", Needed: true,
			Hint: "Use Linux 5.17 or later."},
		{Name: FeatureRingBuffer, What: "records in order", Needed: true, Hint: "Use Linux 5.17 or later."},
		{Name: FeatureTaskIterator, What: "sessions that run already", Needed: true, Hint: "Use Linux 5.17 or later."},
		{Name: FeatureConnectUnix, What: "who connects to a service socket",
			Hint: "Use Linux 6.7 or later with a cgroup2 hierarchy mounted."},
		{Name: FeatureSockLength, What: "what clients ask", Hint: "Use Linux 6.3 or later."},
		{Name: FeatureTCPState, What: "who connects to a service by TCP", Hint: "Use Linux 5.17 or later and allow BPF tracing programs and TCP iterators."},
		{Name: FeatureFentry, What: "nothing yet; reported for level L3",
			Hint: "The kernel refuses trampolines: check kernel lockdown and CONFIG_FUNCTION_TRACER. Nothing is lost without them."},
		{Name: FeatureLSM, What: "nothing yet; reported for level L3",
			Hint: "Add bpf to the lsm= kernel parameter (CONFIG_BPF_LSM). Nothing is lost without it."},
	}
	for i := range fs {
		fs[i].Err = probes[fs[i].Name]()
		if fs[i].Err == nil {
			fs[i].Hint = ""
		}
	}
	return fs
}

var probes = map[string]func() error{
	FeatureCapabilities: probeCapabilities,
	FeatureBTF: func() error {
		_, err := btf.LoadKernelSpec()
		return err
	},
	FeatureTracepoints:  func() error { return probeTracing(ebpf.AttachTraceRawTp, "sched_process_exec") },
	FeatureLoop:         func() error { return features.HaveProgramHelper(ebpf.SocketFilter, asm.FnLoop) },
	FeatureTaskStorage:  probeTaskStorage,
	FeatureRingBuffer:   probeRingBuffer,
	FeatureTaskIterator: func() error { return probeTracing(ebpf.AttachTraceIter, "task") },
	FeatureConnectUnix:  probeConnectUnix,
	FeatureSockLength:   probeSockLength,
	FeatureTCPState:     probeTCPState,
	FeatureFentry:       probeFentry,
	FeatureLSM:          probeLSM,
	FeatureReadKernel:   probeReadKernel,
}

func probeCapabilities() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	have := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if have(unix.CAP_SYS_ADMIN) || have(unix.CAP_BPF) && have(unix.CAP_PERFMON) {
		return nil
	}
	return errNotPermitted
}

func probeTracing(at ebpf.AttachType, to string) error {
	return tryProgram(&ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: at, AttachTo: to})
}

// probeFentry attaches the program, too: Linux on arm64 before 6.4 loads such programs
// and cannot attach them.
func probeFentry() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "unix_stream_sendmsg", License: license, Instructions: returning(0),
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return err
	}
	return l.Close()
}

func probeSockLength() error {
	return errors.Join(
		probeTracing(ebpf.AttachTraceRawTp, "sock_recv_length"),
		probeTracing(ebpf.AttachTraceRawTp, "sock_send_length"))
}

func probeTCPState() error {
	return errors.Join(probeTracing(ebpf.AttachTraceRawTp, "inet_sock_set_state"), probeTracing(ebpf.AttachTraceIter, "tcp"))
}

func probeConnectUnix() error {
	if _, err := unifiedCgroup(); err != nil {
		return err
	}
	return tryProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCgroupUnixConnect, Instructions: returning(1),
	})
}

// probeReadKernel loads a program that reads eight bytes at address 0. cilium/ebpf
// falls back to an older call where this one is refused; that one is not for
// tracing programs, so the error stays.
func probeReadKernel() error {
	return tryProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_process_exec",
		Instructions: append(asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, -8),
			asm.Mov.Imm(asm.R2, 8), asm.Mov.Imm(asm.R3, 0),
			asm.FnProbeReadKernel.Call(),
		}, returning(0)...),
	})
}

// probeLSM attaches a program to a hook and steps on it: where bpf is not among
// the active security modules, everything works but nothing runs.
func probeLSM() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "task_getpgid", License: license,
		Instructions: append(asm.Instructions{
			asm.LoadMapValue(asm.R1, m.FD(), 0),
			asm.StoreImm(asm.R1, 0, 1, asm.Word),
		}, returning(0)...),
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := unix.Getpgid(os.Getpid()); err != nil {
		return err
	}
	var ran uint64
	if err := m.Lookup(uint32(0), &ran); err != nil {
		return err
	}
	if ran == 0 {
		return errNeverRun
	}
	return nil
}

func probeTaskStorage() error {
	number := func(size uint32) *btf.Int { return &btf.Int{Name: "int", Size: size} }
	return tryMap(&ebpf.MapSpec{
		Type: ebpf.TaskStorage, KeySize: 4, ValueSize: 8, Flags: unix.BPF_F_NO_PREALLOC, Key: number(4), Value: number(8),
	})
}

func probeRingBuffer() error { return tryMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 1 << 16}) }

func tryMap(spec *ebpf.MapSpec) error {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	return m.Close()
}

func tryProgram(spec *ebpf.ProgramSpec) error {
	spec.License = license
	if spec.Instructions == nil {
		spec.Instructions = returning(0)
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return err
	}
	return p.Close()
}

func returning(v int32) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, v), asm.Return()}
}

// emptyProgram stands in for a program that the kernel does not take.
func emptyProgram(name string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Name: name, Type: ebpf.SocketFilter, Instructions: returning(0), License: license}
}
