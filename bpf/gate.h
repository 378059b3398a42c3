/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the gate's programs and userland tell each other. */
#pragma once

enum verdict {
	VERDICT_ALLOWED = 1, /* counted, not reported */
	VERDICT_SEEN,	     /* would be refused */
	VERDICT_REFUSED,
	VERDICT_KILLED,
	VERDICT_PROBED,	 /* the gate's own trial of itself: refused, or met at the socket */
	VERDICT_LOST,	 /* found no room in the ring, whatever it was */
	VERDICTS,
};

enum limit {
	GATE_CGROUP = 1024,
	GATE_LEVELS = 16, /* of cgroups, in which an allowed one is looked for */
	GATE_PROBE = 1 << 30, /* of a guarded socket: it is the gate's own */
};

/* The map is one page that userland writes. */
struct setup {
	u32 enforce;
	u32 pid_ns; /* of the host: where users and executables count */
};

/*
 * A socket that is guarded: what the service bound it to, and the device of the
 * file system that this led to. Both stay true when the file is renamed, linked,
 * removed or mounted elsewhere, and when the service binds anew.
 */
struct listener {
	u32 device;
	u8 path[SUN_PATH];
};

struct file_id {
	u64 inode;
	u32 device;
	u32 generation; /* inode numbers are used again */
};

struct exe_id {
	u64 inode;
	u32 device;
	u32 uid;
};

struct sighting {
	u64 time;
	struct process_id id;
	struct identity who;
	struct place place;
	u64 exe_inode;
	u32 exe_device;
	u32 verdict;
	u32 socket;
	u32 exe_len, cgroup_len;
	u16 flags;
	u16 pad;
	u8 comm[16];
	u8 asked[SUN_PATH]; /* the address as it was asked for, where it is known */
	u32 pad2;
	u8 cgroup[GATE_CGROUP + MAX_NAME];
	u8 exe[MAX_PATH + MAX_NAME];
};

/* What the iterator writes for each socket that listens at a path. */
struct open_listener {
	struct file_id file;
	struct listener at;
	u32 pid; /* who began to listen */
	u32 pad;
};
