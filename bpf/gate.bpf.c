//go:build ignore
/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The socket gate: who may connect to a runtime's own socket. The socket is
 * known by what it is bound to, not by what a client calls it.
 *
 * Where the kernel lets a program stand between finding the listening socket and
 * connecting to it (at_socket, at_socket_lsm), that one refuses. Elsewhere
 * at_address refuses where it can tell beforehand where a path leads, and
 * at_arrival kills whoever has come by a path that it could not.
 */
#include "include/kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "gate.h"
#include "read.h"
#include "resolve.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum {
	AF_UNIX = 1,
	TCP_LISTEN = 10,
	SIGKILL = 9,
	EPERM = 1,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct setup);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct listener);
	__type(value, u32); /* a number, and GATE_PROBE */
} listeners SEC(".maps");

/* Where those are, as far as that was seen. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct file_id);
	__type(value, u32);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct exe_id);
	__type(value, u8);
} exes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u8);
} uids SEC(".maps");

/* By the number of the cgroup's directory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u64);
	__type(value, u8);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

static __always_inline void count(u32 verdict)
{
	u64 *n = bpf_map_lookup_elem(&counts, &verdict);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* What a listening socket is guarded as; 0 when it is not. */
static __always_inline u32 guarded(struct unix_sock *us)
{
	struct listener key = {};
	struct unix_address *a = BPF_CORE_READ(us, addr);
	struct dentry *d = BPF_CORE_READ(us, path.dentry);

	if (!a || !d) /* abstract */
		return 0;
	key.device = BPF_CORE_READ(d, d_sb, s_dev);
	bpf_probe_read_kernel_str(key.path, sizeof(key.path),
				  (void *)a + bpf_core_field_offset(struct unix_address, name) +
					  bpf_core_field_offset(struct sockaddr_un, sun_path));
	u32 *as = bpf_map_lookup_elem(&listeners, &key);
	return as ? *as : 0;
}

static __always_inline void file_of(struct file_id *f, struct inode *i)
{
	f->inode = BPF_CORE_READ(i, i_ino);
	f->device = BPF_CORE_READ(i, i_sb, s_dev);
	f->generation = BPF_CORE_READ(i, i_generation);
}

static __always_inline bool allowed_cgroup(struct task_struct *t)
{
	struct kernfs_node *kn = BPF_CORE_READ(own_cgroup(t), kn);

	for (int i = 0; i < GATE_LEVELS && kn; i++) {
		u64 id = BPF_CORE_READ(kn, id);

		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
		kn = kernfs_parent(kn);
	}
	return false;
}

/* Users and executables count on the host alone: a container brings its own of
 * both, and is let in by its cgroup. */
static __always_inline bool allowed(struct task_struct *t, struct setup *s)
{
	struct pid_namespace *ns = active_pid_ns(t);
	struct mm_struct *mm = t->mm;
	struct exe_id exe = {};
	u32 uid = t->cred->uid.val;

	if (allowed_cgroup(t))
		return true;
	if (!ns || BPF_CORE_READ(ns, ns.inum) != s->pid_ns)
		return false;
	if (bpf_map_lookup_elem(&uids, &uid))
		return true;
	struct inode *i = BPF_CORE_READ(mm, exe_file, f_inode);
	if (!i)
		return false;
	exe.inode = BPF_CORE_READ(i, i_ino);
	exe.device = BPF_CORE_READ(i, i_sb, s_dev);
	exe.uid = uid;
	return bpf_map_lookup_elem(&exes, &exe) != 0;
}

static __always_inline void read_exe(struct sighting *r, struct task_struct *t)
{
	struct mm_struct *mm = t->mm;
	struct file *exe = mm ? mm->exe_file : 0;
	struct walk w;

	if (!exe)
		return;
	read_file(exe, &r->exe_inode, &r->exe_device, &r->flags);
	begin_walk(&w, (void *)BPF_CORE_READ(t, mm, exe_file), t, r->exe);
	bpf_loop(MAX_COMPONENTS, walk_step, &w, 0);
	r->exe_len = w.off;
	if (w.whole)
		r->flags |= FLAG_PATH_WHOLE;
}

/* The record is too large for the stack, and who is interrupted here may be
 * another's: it is built where it will be read. */
static __always_inline void report(u32 verdict, u32 socket, void *address, u32 len, struct task_struct *t)
{
	struct sighting *r;

	count(verdict);
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		count(VERDICT_LOST);
		return;
	}
	__builtin_memset(r, 0, __builtin_offsetof(struct sighting, cgroup));
	r->time = bpf_ktime_get_boot_ns();
	r->verdict = verdict;
	r->socket = socket;
	read_process_id(&r->id, t);
	read_identity(&r->who, t);
	read_place(&r->place, t);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), t->comm);
	if (address)
		bpf_probe_read_kernel_str(r->asked, at_most(len, SUN_PATH), address);
	r->cgroup_len = append_names(r->cgroup, 0, GATE_CGROUP, BPF_CORE_READ(own_cgroup(t), kn));
	read_exe(r, t);
	bpf_ringbuf_submit(r, 0);
}

enum stage {
	AT_ADDRESS,
	AT_SOCKET,
	AT_ARRIVAL,
};

/* Decides about the present task and a guarded socket; says whether to refuse. */
static __always_inline bool refuse(u32 as, enum stage at, void *address, u32 len)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u32 zero = 0;
	struct setup *s = bpf_map_lookup_elem(&settings, &zero);

	if (!s)
		return false;
	if (as & GATE_PROBE) {
		count(VERDICT_PROBED);
		return true;
	}
	if (allowed(t, s)) {
		if (at != AT_ADDRESS) /* its arrival is to come */
			count(VERDICT_ALLOWED);
		return false;
	}
	if (!s->enforce) {
		if (at != AT_ADDRESS)
			report(VERDICT_SEEN, as, address, len, t);
		return false;
	}
	report(at == AT_ARRIVAL ? VERDICT_KILLED : VERDICT_REFUSED, as, address, len, t);
	return true;
}

SEC("fmod_ret/security_unix_stream_connect")
int BPF_PROG(at_socket, struct sock *sock, struct sock *other, struct sock *newsk)
{
	u32 as = guarded((void *)other);

	return as && refuse(as, AT_SOCKET, 0, 0) ? -EPERM : 0;
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(at_socket_lsm, struct sock *sock, struct sock *other, struct sock *newsk)
{
	u32 as = guarded((void *)other);

	return as && refuse(as, AT_SOCKET, 0, 0) ? -EPERM : 0;
}

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

SEC("cgroup/connect_unix")
int at_address(struct bpf_sock_addr *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct bpf_sock_addr_kern *k = bpf_cast_to_kern_ctx(ctx);
	void *address = (void *)BPF_CORE_READ(k, uaddr) + bpf_core_field_offset(struct sockaddr_un, sun_path);
	struct resolve r = {};
	struct file_id file = {};
	u32 len = k->uaddrlen;

	if (len <= 2)
		return 1;
	len = at_most(len - 2, SUN_PATH);
	struct inode *i = resolve(&r, address, len, t);
	if (!i)
		return 1;
	file_of(&file, i);
	u32 *as = bpf_map_lookup_elem(&files, &file);
	if (!as)
		return 1;
	return refuse(*as, AT_ADDRESS, address, len) ? 0 : 1;
}

/* Data is ready at a listening unix socket when somebody has connected to it:
 * who does so is the present task, and has not come back from connect yet. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(at_arrival, struct sock *sk)
{
	struct file_id file = {};

	if (sk->__sk_common.skc_family != AF_UNIX || sk->__sk_common.skc_state != TCP_LISTEN)
		return 0;
	u32 as = guarded((void *)sk);
	if (!as)
		return 0;
	/* From now on at_address knows it. */
	file_of(&file, BPF_CORE_READ((struct unix_sock *)sk, path.dentry, d_inode));
	bpf_map_update_elem(&files, &file, &as, BPF_ANY);
	if (refuse(as, AT_ARRIVAL, 0, 0) && !(as & GATE_PROBE))
		bpf_send_signal(SIGKILL);
	return 0;
}

SEC("iter/unix")
int find_listeners(struct bpf_iter__unix *ctx)
{
	struct unix_sock *us = ctx->unix_sk;
	struct open_listener out = {};

	if (!us || us->sk.__sk_common.skc_state != TCP_LISTEN)
		return 0;
	struct unix_address *a = BPF_CORE_READ(us, addr);
	struct dentry *d = BPF_CORE_READ(us, path.dentry);
	if (!a || !d)
		return 0;
	out.at.device = BPF_CORE_READ(d, d_sb, s_dev);
	bpf_probe_read_kernel_str(out.at.path, sizeof(out.at.path),
				  (void *)a + bpf_core_field_offset(struct unix_address, name) +
					  bpf_core_field_offset(struct sockaddr_un, sun_path));
	file_of(&out.file, BPF_CORE_READ(d, d_inode));
	struct pid *pid = us->sk.sk_peer_pid;
	if (pid)
		out.pid = pid->numbers[0].nr;
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

struct sighting *unused_sighting __attribute__((unused));
struct open_listener *unused_open __attribute__((unused));
enum verdict unused_verdict __attribute__((unused));
enum limit unused_limit __attribute__((unused));
enum flag unused_flag __attribute__((unused));
