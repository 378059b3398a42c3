/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The service door. Who connects is seen at connect. What is asked is seen
 * where the service's own socket receives and sends: the bytes are the ones
 * that the service got, whatever call it used, and the client cannot change
 * them any more.
 */
#pragma once

#define AF_UNIX 1
#define PEEK_BYTES 16
#define TLS_HANDSHAKE 0x16 /* no method of HTTP begins so */

/* Services by the socket file they listen on. */
struct file_key {
	u64 inode;
	u32 device;
	u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct file_key);
	__type(value, u32);
} doors SEC(".maps");

/* The same by the path that was asked for, and by the path's last component:
 * the value says which door. */
struct path_key {
	char path[SUN_PATH];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct path_key);
	__type(value, u32);
} door_paths SEC(".maps");

struct name_key {
	char name[32];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct name_key);
	__type(value, u32);
} door_names SEC(".maps");

/* Every process that connected to a unix socket lately, by the cookie of its
 * end: a socket file may be reached by names that nobody knows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct client);
} clients SEC(".maps");

/* Written by userland: both socket programs are attached. */
u32 tapped;
/* Written by userland: changes whenever the doors do. */
u32 doors_generation;
/* Written by userland: the process whose requests to services that speak HTTP/2
 * are not read, 0 when there is none. A Docker daemon keeps its containerd busy. */
u32 skipped_pid;
/* Written by userland: how many TCP ports are watched. */
u32 tcp_doors;

/* Which entry the client belongs to is for userland to say: before Linux 6.13
 * or so a program like on_connect may not look into task storage. */
static __always_inline void read_client(struct client *c, struct task_struct *t)
{
	c->time = bpf_ktime_get_boot_ns();
	read_process_id(&c->id, t);
	read_identity(&c->who, t);
	read_place(&c->place, t);
	if (tapped)
		c->flags = FLAG_TAPPED;
	bpf_probe_read_kernel_str(c->comm, sizeof(c->comm), t->group_leader->comm);
}

struct scan {
	struct path_key *key;
	u64 begin;
};

static long scan_step(u64 i, struct scan *s)
{
	i = at_most(i, SUN_PATH - 1);
	if (!s->key->path[i])
		return 1;
	if (s->key->path[i] == '/')
		s->begin = i + 1;
	return 0;
}

static __always_inline u32 *named_door(struct path_key *key)
{
	struct name_key name = {};
	struct scan s = {.key = key};

	bpf_loop(SUN_PATH, scan_step, &s, 0);
	bpf_probe_read_kernel_str(name.name, sizeof(name.name), &key->path[at_most(s.begin, SUN_PATH - 1)]);
	return bpf_map_lookup_elem(&door_names, &name);
}

static __always_inline void read_client_exe(struct connect_record *r, struct file *exe,
					    struct task_struct *t, u16 *flags)
{
	struct walk w;

	read_file(exe, &r->exe_inode, &r->exe_device, flags);
	begin_walk(&w, (void *)BPF_CORE_READ(t, mm, exe_file), t, r->exe);
	bpf_loop(MAX_COMPONENTS, walk_step, &w, 0);
	r->exe_len = w.off;
	if (w.whole)
		*flags |= FLAG_PATH_WHOLE;
}

/* Fills a connect record and sends it. The record is too large for the stack
 * and the program may be preempted, so it is built in the ring buffer. */
static __always_inline void report_connect(struct client *c, struct path_key *key, u32 len,
					   u64 cookie, u16 flags, struct task_struct *t)
{
	struct connect_record *r = reserve(sizeof(*r), STREAM_PROCESS);
	struct mm_struct *mm = t->mm;
	u16 exe_flags = 0;

	if (!r)
		return;
	head(&r->head, KIND_CONNECT);
	r->client = *c;
	r->cookie = cookie;
	r->path_len = len;
	__builtin_memcpy(r->path, key->path, SUN_PATH);
	r->exe_inode = 0;
	r->exe_device = 0;
	r->argv_hash = 0;
	r->argv_total = 0;
	r->argv_len = 0;
	r->exe_len = 0;
	if (mm) {
		unsigned long start = mm->arg_start, end = mm->arg_end;
		struct file *exe = mm->exe_file;

		if (exe)
			read_client_exe(r, exe, t, &exe_flags);
		if (end > start) {
			u64 n = at_most(end - start, sizeof(r->argv));

			r->argv_total = end - start;
			if (!bpf_probe_read_user(r->argv, n, (void *)start))
				r->argv_len = n;
			if (end - start > sizeof(r->argv))
				r->argv_hash = hash_user(start, end);
		}
	}
	r->head.flags = flags | exe_flags;
	bpf_ringbuf_submit(r, 0);
}

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

SEC("cgroup/connect_unix")
int on_connect(struct bpf_sock_addr *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct bpf_sock_addr_kern *k = bpf_cast_to_kern_ctx(ctx);
	struct sockaddr_un *un = (void *)k->uaddr;
	struct path_key key = {};
	struct client c = {};
	u32 len = k->uaddrlen, pid = t->tgid;
	u8 one = 1;

	if (pid == self_pid || len <= 2)
		return 1;
	/* The path need not be terminated; what follows a terminator is not part
	 * of it. One byte of the longest possible path is lost. */
	len = bpf_probe_read_kernel_str(key.path, at_most(len - 1, SUN_PATH), un->sun_path);
	if (!key.path[0]) /* abstract */
		return 1;
	u64 cookie = bpf_get_socket_cookie(ctx);
	read_client(&c, t);
	bpf_map_update_elem(&clients, &cookie, &c, BPF_ANY);
	bool exact = bpf_map_lookup_elem(&door_paths, &key);
	if (!exact && !named_door(&key))
		return 1;
	bpf_map_update_elem(&client_pids, &pid, &one, BPF_ANY);
	report_connect(&c, &key, len, cookie, exact ? FLAG_EXACT : 0, t);
	return 1;
}

/* One connection as the tap knows it. */
struct conn {
	u64 cookie;
	u64 received, sent;
	u32 door;
	u32 flags;
	s32 receive_left, send_left; /* bytes still worth reporting */
	u32 awaiting;		     /* a request head came, its answer has not */
	u32 generation;		     /* of the doors, when there was none */
	u32 frame_left;		     /* HTTP/2: of the present frame, see http2.h */
	u32 part_len;
	u8 part[20]; /* the beginning of a frame's header */
};
enum {
	CONN_WHOLE = 1,
	CONN_OWN = 2,	   /* our own client */
	CONN_UPGRADED = 4, /* streams from here on: no more requests */
	CONN_HTTP2 = 8,
	CONN_TCP = 256,	   /* see tcp.h */
	CONN_TLS = 512,
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* The door behind a socket of the service's end, 0 when it is none. */
static __always_inline u32 door_of(struct unix_sock *us)
{
	struct file_key key = {};
	struct dentry *d = us->path.dentry;

	if (!d || !d->d_inode) /* a client's end has no path */
		return 0;
	key.inode = d->d_inode->i_ino;
	key.device = d->d_inode->i_sb->s_dev;
	u32 *door = bpf_map_lookup_elem(&doors, &key);
	return door ? *door : 0;
}

static __always_inline u32 pid_of(struct pid *p)
{
	return p ? p->numbers[0].nr : 0;
}

static __always_inline struct conn *new_conn(struct sock *sk, struct unix_sock *us)
{
	struct conn fresh = {};
	struct sock *peer = us->peer;
	u32 door = door_of(us);

	if (!peer || !us->path.dentry)
		return 0;
	fresh.generation = doors_generation;
	if (door && !(door & DOOR_PEERS_ONLY)) {
		fresh.door = door & ~DOOR_HTTP2;
		if (door & DOOR_HTTP2)
			fresh.flags |= CONN_HTTP2;
		fresh.cookie = bpf_get_socket_cookie(peer);
		struct client *known = bpf_map_lookup_elem(&clients, &fresh.cookie);
		if (known && known->flags & FLAG_TAPPED)
			fresh.flags |= CONN_WHOLE;
		if (pid_of(us->sk.sk_peer_pid) == self_pid)
			fresh.flags |= CONN_OWN;
	}
	return bpf_sk_storage_get(&conns, sk, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* The watched connection that a socket is the service's end of; 0 when it is
 * none. The answer is kept with the socket. */
static __always_inline struct conn *conn_of(struct sock *sk, struct unix_sock *us)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (!c)
		c = new_conn(sk, us);
	else if (!c->door && c->generation != doors_generation) {
		bpf_sk_storage_delete(&conns, sk);
		c = new_conn(sk, us);
		if (c) /* what passed before was not counted */
			c->flags &= ~CONN_WHOLE;
	}
	return c && c->door && !(c->flags & CONN_OWN) ? c : 0;
}

/* The same for a TCP socket: tcp.h notes a watched connection when it comes up. */
static __always_inline struct conn *tcp_conn_of(struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (!c || c->door & DOOR_PEERS_ONLY)
		return 0;
	return c->flags & (CONN_OWN | CONN_TLS) ? 0 : c;
}

/* The user's buffer of the read or write call that the current task is in. */
static __always_inline u64 user_buffer(u32 *size)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u64 arg = SYSCALL_ARG2(regs);
	struct user_msghdr msg = {};
	struct user_iovec iov = {};

	switch (SYSCALL_NR(regs)) {
	case NR_read:
	case NR_write:
	case NR_recvfrom:
	case NR_sendto:
		return arg;
	case NR_recvmsg:
	case NR_sendmsg:
		if (bpf_probe_read_user(&msg, sizeof(msg), (void *)arg))
			return 0;
		arg = msg.iov;
		break;
	case NR_readv:
	case NR_writev:
		break;
	default: /* splice, io_uring: counted, not shown */
		return 0;
	}
	if (bpf_probe_read_user(&iov, sizeof(iov), (void *)arg))
		return 0;
	if (iov.len < *size) /* the first piece has to do */
		*size = iov.len;
	return iov.base;
}

static __always_inline bool is_request(const char *p)
{
	u32 w = *(u32 *)p;

	return w == 0x20544547 /* "GET " */ || w == 0x54534f50 /* "POST" */ ||
	       w == 0x20545550 /* "PUT " */ || w == 0x44414548 /* "HEAD" */ ||
	       w == 0x454c4544 /* "DELE" */ || w == 0x4954504f /* "OPTI" */ ||
	       w == 0x43544150 /* "PATC" */;
}

static __always_inline bool is_answer(const char *p)
{
	return *(u32 *)p == 0x50545448 /* "HTTP" */ && p[4] == '/';
}

static __always_inline bool is_upgrade(const char *p)
{
	return p[9] == '1' && p[10] == '0' && p[11] == '1';
}

/* How much of a received piece to show. A server that reads heads through a
 * buffer of 4 KiB (Go's does) never finds one in a longer read, unless the read
 * begins with it. */
static __always_inline u32 want_received(struct conn *c, const char *peek, u32 len)
{
	if (is_request(peek)) {
		c->awaiting = 1;
		c->receive_left = 64 << 10;
	}
	if (c->flags & CONN_UPGRADED)
		return 0;
	if (c->receive_left > 0) {
		c->receive_left -= len;
		return MAX_RECV;
	}
	return len <= MAX_RECV ? MAX_RECV : 0;
}

/* How much of a sent piece to show: the head of an answer and what follows
 * closely, for the id in the body of a create's answer. */
static __always_inline u32 want_sent(struct conn *c, const char *peek, u32 len)
{
	if (is_answer(peek)) {
		c->send_left = MAX_SEND;
		/* Only the first bytes after a request are the service's own;
		 * later ones may be a file that says "HTTP/1.1 101". */
		if (c->awaiting && is_upgrade(peek))
			c->flags |= CONN_UPGRADED;
	}
	c->awaiting = 0;
	if (c->send_left <= 0)
		return 0;
	c->send_left -= len;
	return MAX_SEND;
}

struct tap_scratch {
	struct segment_record rec;
	u8 data[MAX_FRAME];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tap_scratch);
} tap_scratch SEC(".maps");

static __always_inline void read_peer(struct segment_record *r, struct unix_sock *us)
{
	const struct cred *cred = us->sk.sk_peer_cred;

	r->pid = pid_of(us->sk.sk_peer_pid);
	if (cred) {
		r->uid = cred->uid.val;
		r->gid = cred->gid.val;
	}
}

/* us is 0 for a TCP connection. */
static __always_inline void report_segment(struct conn *c, struct unix_sock *us, u64 buf, u64 size,
					   u64 offset, u32 length, u16 flags)
{
	u32 zero = 0;
	struct tap_scratch *s = bpf_map_lookup_elem(&tap_scratch, &zero);

	if (!s)
		return;
	struct segment_record *r = &s->rec;
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_SEGMENT);
	r->cookie = c->cookie;
	r->offset = offset;
	r->length = length;
	r->door = c->door;
	r->service_pid = bpf_get_current_pid_tgid() >> 32;
	if (us)
		read_peer(r, us);
	struct client *known = bpf_map_lookup_elem(&clients, &c->cookie);
	if (known)
		r->client = *known;
	if (c->flags & CONN_WHOLE)
		flags |= FLAG_WHOLE;
	size = at_most(size, MAX_FRAME);
	if (!buf || bpf_probe_read_user(s->data, size, (void *)buf)) {
		flags |= FLAG_NODATA;
		size = 0;
	}
	r->data_len = size;
	r->head.flags = flags;
	output_request(s, sizeof(*r) + size);
}

#include "http2.h"

/* What passed on a connection that speaks HTTP/1; us is 0 on TCP. */
static __always_inline void tap_http(struct conn *c, struct unix_sock *us, int ret, bool sent)
{
	char peek[PEEK_BYTES] = {};
	u32 size = ret, want;
	u64 offset = __sync_fetch_and_add(sent ? &c->sent : &c->received, ret);
	u64 buf = user_buffer(&size);

	if (buf)
		bpf_probe_read_user(peek, at_most(size, PEEK_BYTES), (void *)buf);
	if (!us && !sent && !offset && peek[0] == TLS_HANDSHAKE) {
		c->flags |= CONN_TLS;
		return;
	}
	want = sent ? want_sent(c, peek, ret) : want_received(c, peek, ret);
	if (!want)
		return;
	if (size > want)
		size = want;
	report_segment(c, us, buf, size, offset, ret, sent ? FLAG_SENT : 0);
}

static __always_inline void tap_http2(struct conn *c, struct unix_sock *us, int ret, bool sent)
{
	u32 size = ret;

	if (sent || pid_of(us->sk.sk_peer_pid) == skipped_pid)
		return;
	u64 offset = __sync_fetch_and_add(&c->received, ret);
	u64 buf = user_buffer(&size);
	tap_frames(c, us, buf, size, offset);
}

static __always_inline void tap(struct sock *sk, int ret, bool sent)
{
	struct conn *c;

	if (sk->__sk_common.skc_family != AF_UNIX) {
		c = tcp_doors ? tcp_conn_of(sk) : 0;
		if (c)
			tap_http(c, 0, ret, sent);
		return;
	}
	struct unix_sock *us = bpf_skc_to_unix_sock(sk);
	if (!us)
		return;
	c = conn_of(sk, us);
	if (!c)
		return;
	if (c->flags & CONN_HTTP2)
		tap_http2(c, us, ret, sent);
	else
		tap_http(c, us, ret, sent);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv, struct sock *sk, int ret, int flags)
{
	if (ret > 0)
		tap(sk, ret, false);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int ret, int flags)
{
	if (ret > 0)
		tap(sk, ret, true);
	return 0;
}

/* Lists the client connections that are open: the service's ends of them. */
SEC("iter/unix")
int find_conns(struct bpf_iter__unix *ctx)
{
	struct unix_sock *us = ctx->unix_sk;
	struct open_conn out = {};

	if (!us)
		return 0;
	struct sock *peer = us->peer;
	if (!peer)
		return 0;
	out.door = door_of(us) & ~(DOOR_PEERS_ONLY | DOOR_HTTP2);
	if (!out.door)
		return 0;
	out.pid = pid_of(us->sk.sk_peer_pid);
	if (out.pid == self_pid)
		return 0;
	const struct cred *cred = us->sk.sk_peer_cred;
	if (cred) {
		out.uid = cred->uid.val;
		out.gid = cred->gid.val;
	}
	out.cookie = bpf_get_socket_cookie(peer);
	out.inode = BPF_CORE_READ(peer, sk_socket, file, f_inode, i_ino);
	/* SHUTDOWN_MASK is 3. Some services keep their end for long after. */
	out.dead = us->sk.sk_shutdown == 3 && !us->sk.sk_receive_queue.qlen;
	struct client *known = bpf_map_lookup_elem(&clients, &out.cookie);
	if (known)
		out.client = *known;
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}
