//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Sallyport's kernel sensor: BTF tracepoints, task and socket storage, one
 * ring buffer. Needs Linux >= 5.17 (bpf_loop), >= 6.3 for what clients ask,
 * >= 6.7 for who connects. No syscall tracepoint, no kprobe, no trampoline.
 */
#include "include/kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One ring for all records, so that they arrive in order. Requests may fill
 * only half of it: a flood of them must not cost a process record. */
enum {
	RING_SIZE = 8 << 20,
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_SIZE);
} ring SEC(".maps");

/* Records that found no room, by CPU and stream. */
enum stream {
	STREAM_PROCESS,
	STREAM_REQUESTS,
	STREAMS,
};
struct lost {
	u64 count[STREAMS];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct lost);
} lost SEC(".maps");

static __always_inline void count_lost(u32 stream)
{
	u32 zero = 0;
	struct lost *l = bpf_map_lookup_elem(&lost, &zero);

	if (l)
		__sync_fetch_and_add(&l->count[stream & 1], 1);
}

static __always_inline void *reserve(u64 size, u32 stream)
{
	void *r = bpf_ringbuf_reserve(&ring, size, 0);

	if (!r)
		count_lost(stream);
	return r;
}

/*
 * Waking the reader costs more than the record and takes a CPU from whoever is
 * watched. What is not urgent wakes it only when it is not about to look again
 * by itself, which it does READER_LOOKS after it was woken, and as long as it
 * finds anything. Two CPUs may both wake it: no harm.
 */
#define READER_LOOKS (20 * 1000 * 1000) /* ns */
u64 reader_woken;

static __always_inline u64 when_idle(u64 now)
{
	if (now - reader_woken < READER_LOOKS)
		return BPF_RB_NO_WAKEUP;
	reader_woken = now;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void output(void *rec, u64 size, u64 flags)
{
	if (bpf_ringbuf_output(&ring, rec, size, flags))
		count_lost(STREAM_PROCESS);
}

static __always_inline void output_request(void *rec, u64 size)
{
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > RING_SIZE / 2 ||
	    bpf_ringbuf_output(&ring, rec, size, 0))
		count_lost(STREAM_REQUESTS);
}

#include "read.h"

/* Sends a record: its fixed part, see FIXED, and the data behind it. */
static __always_inline void submit(struct scratch *s, u32 fixed, u32 data, u64 flags)
{
	data &= 32767;
	if (data > DATA_MAX)
		return;
	output(s->fixed + FIXED_MAX - fixed, fixed + data, flags);
}

#include "process.h"
#include "dump.h"
#include "socket.h"
#include "tcp.h"

/* For the Go side: the types of the records. */
struct entry_record *unused_entry __attribute__((unused));
struct exec_record *unused_exec __attribute__((unused));
struct fork_record *unused_fork __attribute__((unused));
struct exit_record *unused_exit __attribute__((unused));
struct found_record *unused_found __attribute__((unused));
struct connect_record *unused_connect __attribute__((unused));
struct wake_record *unused_wake __attribute__((unused));
struct segment_record *unused_segment __attribute__((unused));
struct open_conn *unused_open __attribute__((unused));
struct accept_record *unused_accept __attribute__((unused));
struct close_record *unused_close __attribute__((unused));
struct open_tcp *unused_open_tcp __attribute__((unused));
struct port_key *unused_port __attribute__((unused));
enum kind unused_kind __attribute__((unused));
enum flag unused_flag __attribute__((unused));
enum bound unused_bound __attribute__((unused));
enum door unused_door __attribute__((unused));
enum cause unused_cause __attribute__((unused));
