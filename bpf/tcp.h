/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Service doors on TCP. Who connects is seen where TCP itself says that a
 * connection is up, whatever its addresses and namespaces. A client of this
 * kernel is known by more than them: both ends agree on the two sequence
 * numbers that their connection began with, and nobody else has those.
 */
#pragma once

#define AF_INET6 10
#define IPPROTO_TCP 6
#define MAPPED 0xffff0000 /* ::ffff:0:0, its third word; little-endian */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
};

/* The numbers of the ports in `ports`: what nearly every connection is told
 * apart by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u8);
} port_numbers SEC(".maps");

/* Where services listen: the unspecified address is IPv6's for sockets of that
 * family, the mapped one for others. The value says which door. */
struct port_key {
	u32 addr[4];
	u32 net_ns;
	u32 port;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct port_key);
	__type(value, u32);
} ports SEC(".maps");

/* The process behind a client's end until its connection is up. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} dialling SEC(".maps");

/* From then on until the service's end is up too. */
struct tcp_pair {
	struct endpoint client, server;
	u32 client_seq, server_seq;
};
struct tcp_client {
	struct client who;
	u64 cookie;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tcp_pair);
	__type(value, struct tcp_client);
} tcp_clients SEC(".maps");

static __always_inline u16 swap(u16 v)
{
	return v << 8 | v >> 8;
}

static __always_inline void read_addr(void *to, struct sock *sk, bool remote)
{
	struct sock_common *c = &sk->__sk_common;
	u32 *w = to;

	if (c->skc_family == AF_INET6) {
		__builtin_memcpy(to, remote ? &c->skc_v6_daddr : &c->skc_v6_rcv_saddr, 16);
		return;
	}
	w[0] = w[1] = 0;
	w[2] = MAPPED;
	w[3] = remote ? c->skc_daddr : c->skc_rcv_saddr;
}

static __always_inline void read_ends(struct endpoint *local, struct endpoint *remote, struct sock *sk)
{
	read_addr(local->addr, sk, false);
	read_addr(remote->addr, sk, true);
	local->port = sk->__sk_common.skc_num;
	remote->port = swap(sk->__sk_common.skc_dport);
}

static __always_inline u32 net_ns_of(struct sock *sk)
{
	struct net *n = sk->__sk_common.skc_net.net;

	return n ? n->ns.inum : 0;
}

/* The door whose connection this is the service's end of, 0 when it is none. */
static __always_inline u32 port_door(struct sock *sk)
{
	struct port_key key = {.port = sk->__sk_common.skc_num};

	if (!bpf_map_lookup_elem(&port_numbers, &key.port))
		return 0;
	key.net_ns = net_ns_of(sk);
	read_addr(key.addr, sk, false);
	u32 *door = bpf_map_lookup_elem(&ports, &key);
	if (!door) {
		key.addr[0] = key.addr[1] = key.addr[3] = 0;
		key.addr[2] = sk->__sk_common.skc_family == AF_INET6 ? 0 : MAPPED;
		door = bpf_map_lookup_elem(&ports, &key);
	}
	return door ? *door : 0;
}

/* A client connects, in its own context; its own port is not chosen yet. */
static __always_inline void dial(struct sock *sk)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 port = swap(sk->__sk_common.skc_dport);
	struct path_key none = {};
	struct client c = {};

	if (!bpf_map_lookup_elem(&port_numbers, &port))
		return;
	read_client(&c, t);
	if (!bpf_sk_storage_get(&dialling, sk, &c, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return;
	if (c.id.pid != self_pid)
		report_connect(&c, &none, 0, bpf_get_socket_cookie(sk), FLAG_DIAL, t);
}

/* Its end is up, which is before the service's is. */
static __always_inline void reached(struct sock *sk)
{
	struct client *c = bpf_sk_storage_get(&dialling, sk, 0, 0);
	struct tcp_client v = {};
	struct tcp_pair key = {};

	if (!c)
		return;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	v.who = *c;
	v.cookie = bpf_get_socket_cookie(sk);
	read_ends(&key.client, &key.server, sk);
	key.client_seq = tp->snd_una;
	key.server_seq = tp->rcv_nxt;
	bpf_map_update_elem(&tcp_clients, &key, &v, BPF_ANY);
	bpf_sk_storage_delete(&dialling, sk);
}

static __always_inline void report_accept(struct sock *sk, u64 cookie, u32 door, u16 flags,
					  struct tcp_client *who)
{
	struct accept_record *r = reserve(sizeof(*r), STREAM_PROCESS);

	if (!r)
		return;
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_ACCEPT);
	r->head.flags = flags;
	r->cookie = cookie;
	read_ends(&r->local, &r->remote, sk);
	r->door = door;
	r->net_ns = net_ns_of(sk);
	if (who) {
		r->client = who->who;
		r->client_cookie = who->cookie;
	}
	bpf_ringbuf_submit(r, 0);
}

static __always_inline void accepted(struct sock *sk)
{
	struct conn fresh = {.flags = CONN_TCP};
	struct tcp_pair key = {};
	u16 flags = 0;

	fresh.door = port_door(sk);
	if (!fresh.door)
		return;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	read_ends(&key.server, &key.client, sk);
	key.client_seq = tp->rcv_nxt;
	key.server_seq = tp->snd_una;
	struct tcp_client *who = bpf_map_lookup_elem(&tcp_clients, &key);
	if (who && who->who.id.pid == self_pid)
		fresh.flags |= CONN_OWN;
	if (tapped && !tp->bytes_received) { /* no data came with the SYN */
		fresh.flags |= CONN_WHOLE;
		flags = FLAG_TAPPED;
	}
	fresh.cookie = bpf_get_socket_cookie(sk);
	if (!bpf_sk_storage_get(&conns, sk, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE))
		count_lost(STREAM_PROCESS);
	if (!(fresh.flags & CONN_OWN))
		report_accept(sk, fresh.cookie, fresh.door & ~DOOR_PEERS_ONLY, flags, who);
	bpf_map_delete_elem(&tcp_clients, &key);
}

static __always_inline void closed(struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (!c || !(c->flags & CONN_TCP) || c->flags & CONN_OWN)
		return;
	struct close_record *r = reserve(sizeof(*r), STREAM_PROCESS);
	if (!r)
		return;
	head(&r->head, KIND_CLOSE);
	r->cookie = c->cookie;
	bpf_ringbuf_submit(r, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_tcp_state, struct sock *sk, int from, int to)
{
	if (from == to || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT)
		dial(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_SENT)
		reached(sk);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_RECV)
		accepted(sk);
	else if (to == TCP_CLOSE)
		closed(sk);
	return 0;
}

static __always_inline bool is_up(u8 state)
{
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT1 ||
	       state == TCP_FIN_WAIT2 || state == TCP_LAST_ACK;
}

/* Lists the ends of watched connections that are up in the reader's network
 * namespace, and notes those that came before the sensor. */
SEC("iter/tcp")
int find_tcp(struct bpf_iter__tcp *ctx)
{
	struct conn fresh = {.flags = CONN_TCP};
	struct sock_common *any = ctx->sk_common;
	struct open_tcp out = {};

	if (!any)
		return 0;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(any);
	if (!tp)
		return 0;
	struct sock *sk = (struct sock *)tp;
	if (!is_up(sk->__sk_common.skc_state))
		return 0;
	read_ends(&out.local, &out.remote, sk);
	out.cookie = bpf_get_socket_cookie(tp);
	out.inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	u32 remote = out.remote.port;
	fresh.door = port_door(sk);
	if (!fresh.door && !bpf_map_lookup_elem(&port_numbers, &remote))
		return 0;
	if (fresh.door) {
		fresh.cookie = out.cookie;
		struct conn *c = bpf_sk_storage_get(&conns, tp, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (c && c->flags & CONN_OWN)
			return 0;
		out.door = fresh.door & ~DOOR_PEERS_ONLY;
	}
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}
