/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Records, as they lie in the ring buffer: a fixed part that begins with
 * struct head, then `data`, whose pieces follow each other in the order of
 * their lengths in the fixed part. Numbers are in the machine's byte order,
 * times in nanoseconds since boot.
 */
#pragma once

enum kind {
	KIND_ENTRY = 1,
	KIND_FORK,
	KIND_EXEC,
	KIND_EXIT,
	KIND_FOUND,	  /* a process that the dump at start found in a container */
	KIND_CONNECT,	  /* a client connected to what looks like a service socket */
	KIND_CLIENT_EXIT, /* a process that had connected is gone */
	KIND_WAKE,	  /* a program that is a client started on the host */
	KIND_SEGMENT,
	KIND_ACCEPT,	  /* a client's TCP connection to a watched port is up */
	KIND_CLOSE,	  /* such a connection is gone */
};

enum cause {
	CAUSE_START = 1,
	CAUSE_INJECTED,
	CAUSE_FOREIGN,
};

/* Bounds of the variable parts, in bytes where nothing else is said. */
enum bound {
	MAX_NAME = 256,	      /* one path component, one cgroup name */
	MAX_FILENAME = 4096,
	MAX_PATH = 2048,      /* all components together */
	MAX_COMPONENTS = 48,
	MAX_CGROUPS = 8,      /* levels */
	MAX_ARGV = 8192,
	MAX_ARGV_HASHED = 2 << 20,
	MAX_ANCESTORS = 8,
	MAX_CLIENT_ARGV = 2048,
	MAX_RECV = 4096,
	MAX_SEND = 1024,
	MAX_FRAME = 16384, /* of a piece of HTTP/2 */
	SUN_PATH = 108,
};

enum flag {
	FLAG_UPPER = 1,	     /* executable in an overlay's upper layer */
	FLAG_NAMELESS = 2,   /* executable without a name: memfd, deleted */
	FLAG_PATH_WHOLE = 4, /* the path's components reach the process's root */
	FLAG_FORK = 16,	     /* an entry born at fork, not at exec */
	FLAG_HOST = 32,	     /* no entry: a program that the sensor follows on the host */
	FLAG_TAPPED = 64,    /* both socket programs were attached at connect */
	FLAG_SENT = 128,     /* the service sent it */
	FLAG_WHOLE = 256,    /* offset counts from the connection's first byte */
	FLAG_NODATA = 512,   /* the bytes could not be read */
	FLAG_EXACT = 1024,   /* the path is one that was asked for, letter by letter */
	FLAG_DIAL = 2048,    /* a connect by TCP to a port of a watched number, here or elsewhere */
};

struct head {
	u8 kind;
	u8 cause;
	u16 flags;
	u32 cpu;
	u64 time;
};

struct process_id {
	u64 start;
	u32 pid;
	u32 ns_pid;
};

struct identity {
	u32 uid, gid, loginuid, session;
};

struct ancestor {
	u64 start;
	u32 pid;
	struct identity who;
	u8 comm[16];
	u8 tty[20];
};

/* Where a process lives. mnt_id is unique for ever, the others are reused. */
struct place {
	u64 mnt_id;
	u32 mnt_ns, pid_ns;
};

/* data: argv of the creator, cgroup names */
struct entry_record {
	struct head head;
	struct process_id root, parent, outer;
	struct identity who;
	struct place place;
	u64 exe_mnt_id; /* whose executable it runs, with CAUSE_FOREIGN */
	u64 argv_hash;
	u32 argv_total;
	u32 argv_len, cgroup_len;
	u32 ancestor_count;
	u8 comm[16];
	struct ancestor ancestors[MAX_ANCESTORS];
};

/* data: filename, path components (the last one first), argv, cgroup names */
struct exec_record {
	struct head head;
	struct process_id id, parent, entry;
	struct identity who;
	struct place place;
	u64 inode;
	u64 argv_hash;
	u32 device;
	u32 argv_total;
	u32 filename_len, path_len, argv_len, cgroup_len;
	u8 comm[16];
	u8 tty[64];
};

struct fork_record {
	struct head head;
	struct process_id id, parent, entry;
	struct identity who;
	u8 comm[16];
};

struct exit_record {
	struct head head;
	struct process_id id, entry;
	u32 code; /* as wait(2) encodes it */
	u32 pad;
};

/* data: cgroup names */
struct found_record {
	struct head head;
	struct process_id id, parent, entry;
	struct identity who;
	struct place place;
	u32 cgroup_len;
	u8 comm[16];
	u8 tty[20];
};

struct client {
	u64 time; /* of the connect */
	struct process_id id;
	struct identity who;
	struct place place;
	u8 comm[16];
	u32 flags;
	u32 pad;
};

struct connect_record {
	struct head head;
	struct client client;
	u64 cookie;
	u64 exe_inode;
	u64 argv_hash;
	u32 exe_device;
	u32 argv_total;
	u32 argv_len;
	u32 path_len;
	u32 exe_len;
	u8 path[SUN_PATH];
	u8 argv[MAX_CLIENT_ARGV];
	u8 exe[MAX_PATH + MAX_NAME]; /* components, the last one first */
};

struct wake_record {
	struct head head;
	u32 pid;
	u8 comm[16];
	u32 pad;
};

/* data: the bytes */
struct segment_record {
	struct head head;
	u64 cookie;
	u64 offset;
	u32 length; /* true length */
	u32 data_len;
	u32 door;
	u32 service_pid;
	u32 pid, uid, gid;
	u32 pad;
	struct client client; /* zero when the connect was not seen */
};

/* An end of a TCP connection: address and port. IPv4 is mapped into IPv6. */
struct endpoint {
	u8 addr[16];
	u16 port;
	u16 pad;
};

struct accept_record {
	struct head head;
	u64 cookie; /* of the service's end */
	struct endpoint remote, local;
	u32 door;
	u32 net_ns;
	u64 client_cookie;    /* of a local client's end, 0 when it is not of this kernel */
	struct client client; /* zero as well then */
};

struct close_record {
	struct head head;
	u64 cookie;
};

/* What the TCP iterator writes for each end of a watched connection. */
struct open_tcp {
	u64 cookie;
	u64 inode;
	struct endpoint remote, local;
	u32 door; /* 0 at a client's end */
	u32 pad;
};

/* What userland says of a listening socket: its number, and these bits. */
enum door {
	DOOR_HTTP2 = 1 << 29,	   /* requests come as HTTP/2 */
	DOOR_PEERS_ONLY = 1 << 30, /* its clients are of interest, not what they ask */
};

/* What the socket iterator writes for each client connection. */
struct open_conn {
	u64 cookie;
	u64 inode; /* of the client's socket */
	u32 door;
	u32 pid, uid, gid;
	u32 dead; /* the client is gone and all it sent was received */
	u32 pad;
	struct client client;
};
