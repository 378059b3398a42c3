/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The process door. A label is born when a process crosses into a container
 * from outside, and copied at every fork; it lives in task storage, so it
 * survives every change of parents.
 */
#pragma once

struct label {
	struct process_id root;
	u64 mnt_id; /* the mount namespace of the root at birth */
	u64 ended;  /* of a process's first thread: the end was reported */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct label);
} labels SEC(".maps");

/* Mount namespaces that an entry has been born in. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u8);
} mounts_seen SEC(".maps");

/* Executables of known clients, written by userland. */
struct exe_key {
	u64 inode;
	u32 device;
	u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct exe_key);
	__type(value, u8);
} client_exes SEC(".maps");

/* Processes that have connected to a service, by pid. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u8);
} client_pids SEC(".maps");

/* What an ordinary process of the host has; set by the first dump. */
struct mnt_namespace *host_mnt_ns;
struct dentry *host_root;
u32 self_pid;
/* Written by userland: what ran before is not labelled yet. */
u32 settling = 1;
/* Written by userland: report starting client programs (the tap is off). */
u32 wake_wanted;
u32 clients_open;

static __always_inline bool outside_root(struct task_struct *t)
{
	struct fs_struct *fs = t->fs;

	return fs && (struct dentry *)BPF_CORE_READ(fs, root.mnt, mnt_root) != host_root;
}

/*
 * The mount namespace that owns the executable, when that is a foreign one
 * with another root file system than the host's: a process of the host runs a
 * container's program (chroot /proc/PID/root, /proc/PID/root/bin/x). Mounts
 * that belong to no namespace (memfd, detached) are not foreign.
 */
static __always_inline u64 foreign_exe(struct task_struct *t, struct file *f)
{
	struct mount *m = real_mount(f->f_path.mnt);
	struct mnt_namespace *owner = BPF_CORE_READ(m, mnt_ns);

	if (!owner || (u64)owner >= (u64)-4095) /* none, or an error */
		return 0;
	if (owner == t->nsproxy->mnt_ns || BPF_CORE_READ(owner, ns.inum) == 0)
		return 0;
	if (BPF_CORE_READ(m, mnt.mnt_root) == host_root)
		return 0;
	return read_mnt_ns_id(owner);
}

static __always_inline void head(struct head *h, u8 kind)
{
	h->kind = kind;
	h->cause = 0;
	h->flags = 0;
	h->cpu = bpf_get_smp_processor_id();
	h->time = bpf_ktime_get_boot_ns();
}

struct climb {
	struct task_struct *task;
	struct entry_record *rec;
};

static __always_inline void read_ancestor(struct ancestor *a, struct task_struct *t)
{
	struct task_struct *leader = t->group_leader;

	a->pid = t->tgid;
	a->start = leader->start_boottime;
	read_identity(&a->who, t);
	bpf_probe_read_kernel_str(a->comm, sizeof(a->comm), leader->comm);
	read_tty(a->tty, sizeof(a->tty), t);
}

/*
 * Labels child and reports its entry. creator is the first ancestor reported:
 * at fork the process that forks, at exec the parent.
 */
static __always_inline void birth(struct task_struct *child, struct task_struct *creator,
				  u8 cause, u16 flags, struct label *outer, u64 exe_mnt)
{
	struct scratch *s = get_scratch();
	struct label fresh = {};
	struct argv argv = {};
	u8 one = 1;

	if (!s)
		return;
	struct entry_record *r = FIXED(s, struct entry_record);
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_ENTRY);
	r->head.cause = cause;
	read_process_id(&r->root, child);
	read_process_id(&r->parent, creator);
	r->outer = outer->root;
	read_identity(&r->who, child);
	read_place(&r->place, child);
	r->exe_mnt_id = exe_mnt;
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), child->comm);

	fresh.root = r->root;
	fresh.mnt_id = r->place.mnt_id;
	struct label *l = bpf_task_storage_get(&labels, child, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (l)
		*l = fresh;
	if (cause != CAUSE_FOREIGN)
		bpf_map_update_elem(&mounts_seen, &fresh.mnt_id, &one, BPF_ANY);

	u32 off = 0;
	if (flags & FLAG_FORK) /* at exec the old arguments are gone */
		off = read_argv(s, 0, creator->mm, &argv);
	r->argv_len = off;
	r->argv_total = argv.total;
	r->argv_hash = argv.hash;
	off = walk_cgroup(off, (u64)cgroup_node(child));
	r->cgroup_len = off - r->argv_len;

	struct task_struct *t = creator;
	for (int i = 0; i < MAX_ANCESTORS; i++) {
		if (t->tgid == 0)
			break;
		read_ancestor(&r->ancestors[i], t);
		r->ancestor_count++;
		if (t->tgid == 1)
			break;
		t = t->real_parent;
	}
	r->head.flags |= flags;
	submit(s, sizeof(*r), off, BPF_RB_FORCE_WAKEUP); /* who came in may be gone soon */
}

/* Whether a label's owner went on into a mount namespace of another root: a
 * container inside a container. */
static __always_inline bool went_deeper(struct task_struct *t, struct label *l)
{
	struct nsproxy *ns = t->nsproxy;

	return ns && mnt_ns_id(ns->mnt_ns) != l->mnt_id;
}

static __always_inline bool seen(u64 mnt_id)
{
	return bpf_map_lookup_elem(&mounts_seen, &mnt_id) != 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct label *l = bpf_task_storage_get(&labels, parent, 0, 0);
	struct label outer = {};
	struct fork_record r;

	/* Children go down into pid namespaces, never up or aside. */
	bool crossed = parent->thread_pid->level != child->thread_pid->level;
	if (!l && !crossed) /* nearly every fork of a host */
		return 0;
	if (crossed) {
		bool first = ns_pid(child) == 1;
		/* A new pid namespace with the old mounts is a sandbox, no container. */
		if (!l || !first || went_deeper(child, l)) {
			struct mnt_namespace *m = child->nsproxy->mnt_ns;
			u8 cause = first || (m != host_mnt_ns && !seen(mnt_ns_id(m))) ? CAUSE_START :
											CAUSE_INJECTED;
			if (l)
				outer = *l;
			birth(child, parent, cause, FLAG_FORK, &outer, 0);
			return 0;
		}
	}
	if (!l)
		return 0;
	/* It may be refused: then what the child does goes unseen. */
	if (!bpf_task_storage_get(&labels, child, l, BPF_LOCAL_STORAGE_GET_F_CREATE))
		count_lost(STREAM_PROCESS);
	if (child->pid != child->tgid)
		return 0;
	__builtin_memset(&r, 0, sizeof(r));
	head(&r.head, KIND_FORK);
	read_process_id(&r.id, child);
	read_name(&r.parent, child->real_parent);
	r.entry = l->root;
	read_identity(&r.who, child);
	bpf_probe_read_kernel_str(r.comm, sizeof(r.comm), child->comm);
	output(&r, sizeof(r), when_idle(r.head.time));
	return 0;
}

static __always_inline bool same(const char *a, const char *b, u32 n)
{
	char differ = 0;

	for (u32 i = 0; i < n; i++)
		differ |= a[i] ^ b[i]; /* no branch: each one doubles the verifier's work */
	return !differ;
}
#define BEGINS(name, with) same(name, with, sizeof(with) - 1)
#define IS(name, whole) same(name, whole, sizeof(whole))

/* Programs whose exec on the host is evidence: they start what enters. */
static __always_inline bool is_runtime(const char *name)
{
	return BEGINS(name, "runc") || BEGINS(name, "crun") || BEGINS(name, "youki") ||
	       BEGINS(name, "runsc") || BEGINS(name, "conmon") || IS(name, "ctr") ||
	       IS(name, "nsenter") || BEGINS(name, "containerd-shim") || BEGINS(name, "memfd:runc");
}

static __always_inline bool is_client(const char *name)
{
	return IS(name, "docker") || IS(name, "podman") || IS(name, "nerdctl") || IS(name, "ctr") ||
	       IS(name, "docker-compose") || IS(name, "crictl");
}

static __always_inline void wake(struct task_struct *t, struct file *f, const char *name)
{
	struct wake_record r = {};
	struct exe_key key = {};

	key.inode = f->f_inode->i_ino;
	key.device = f->f_inode->i_sb->s_dev;
	if (!is_client(name) && !bpf_map_lookup_elem(&client_exes, &key))
		return;
	head(&r.head, KIND_WAKE);
	r.pid = t->tgid;
	bpf_probe_read_kernel_str(r.comm, sizeof(r.comm), t->comm);
	output(&r, sizeof(r), BPF_RB_FORCE_WAKEUP);
}

static __always_inline void report_exec(struct task_struct *t, struct linux_binprm *bprm,
					struct label *l)
{
	struct scratch *s = get_scratch();
	struct argv argv = {};
	u16 flags = 0;
	u32 off = 0;

	if (!s)
		return;
	struct exec_record *r = FIXED(s, struct exec_record);
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_EXEC);
	read_process_id(&r->id, t);
	read_name(&r->parent, t->real_parent);
	if (l)
		r->entry = l->root;
	else
		flags |= FLAG_HOST;
	read_identity(&r->who, t);
	read_place(&r->place, t);
	read_file(bprm->file, &r->inode, &r->device, &flags);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), t->comm);
	read_tty(r->tty, sizeof(r->tty), t);

	long n = bpf_probe_read_kernel_str(s->data, MAX_FILENAME, bprm->filename);
	if (n > 0)
		off = n;
	r->filename_len = off;
	u32 at = off;
	off = read_path(off, bprm, &flags);
	r->path_len = off - at;
	at = off;
	off = read_argv(s, off, t->mm, &argv);
	r->argv_len = argv.len;
	r->argv_total = argv.total;
	r->argv_hash = argv.hash;
	at += argv.len;
	off = walk_cgroup(off, (u64)cgroup_node(t));
	r->cgroup_len = off - at;
	r->head.flags = flags;
	submit(s, sizeof(*r), off, when_idle(r->head.time));
}

/* Whether this exec brings the process into a container; 0 when not. */
static __always_inline u8 exec_crosses(struct task_struct *t, struct file *exe, struct label *l,
				       u64 *exe_mnt)
{
	struct mnt_namespace *m = t->nsproxy->mnt_ns;
	struct task_struct *parent = t->real_parent;

	if (l ? !went_deeper(t, l) : m == host_mnt_ns || !outside_root(t))
		goto same_mounts;
	/* The parent has no label yet either: the dump takes both. */
	if (!l && settling && BPF_CORE_READ(parent, nsproxy, mnt_ns) == m)
		return 0;
	/* A new mount namespace alone is a sandbox (PrivateTmp, unshare -m). */
	if (l && BPF_CORE_READ(t, fs, root.mnt, mnt_root) ==
			 BPF_CORE_READ(parent, fs, root.mnt, mnt_root))
		return 0;
	return seen(mnt_ns_id(m)) ? CAUSE_INJECTED : CAUSE_START;
same_mounts:
	if (!l)
		*exe_mnt = foreign_exe(t, exe);
	return *exe_mnt ? CAUSE_FOREIGN : 0;
}

static __always_inline void host_exec(struct task_struct *t, struct linux_binprm *bprm)
{
	char name[16] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), bprm->file->f_path.dentry->d_name.name);
	if (wake_wanted)
		wake(t, bprm->file, name);
	if (is_runtime(name))
		report_exec(t, bprm, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *t, pid_t old_pid, struct linux_binprm *bprm)
{
	struct label *l = bpf_task_storage_get(&labels, t, 0, 0), outer = {};
	u64 exe_mnt = 0;
	u8 cause = exec_crosses(t, bprm->file, l, &exe_mnt);

	if (!l && !cause) {
		host_exec(t, bprm);
		return 0;
	}
	if (cause) {
		if (l)
			outer = *l;
		birth(t, t->real_parent, cause, 0, &outer, exe_mnt);
		l = bpf_task_storage_get(&labels, t, 0, 0);
	}
	if (l)
		report_exec(t, bprm, l);
	return 0;
}

/* Whether the process was a client of a service; forgets it. */
static __always_inline bool was_client(u32 pid)
{
	if (!clients_open || !bpf_map_lookup_elem(&client_pids, &pid))
		return false;
	bpf_map_delete_elem(&client_pids, &pid);
	return true;
}

/* The count of live threads is 0 for each of two that end at the same time. */
static __always_inline bool ended_before(struct task_struct *t)
{
	struct label *l = bpf_task_storage_get(&labels, t->group_leader, 0, 0);

	return l && __sync_lock_test_and_set(&l->ended, 1);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *t)
{
	struct label *l = bpf_task_storage_get(&labels, t, 0, 0);
	struct signal_struct *sig = t->signal;
	struct exit_record r;

	if (!l && !clients_open)
		return 0;
	if (sig->live.counter) /* a thread; the process goes on */
		return 0;
	if (l && ended_before(t))
		return 0;
	bool client = was_client(t->tgid);
	if (!l && !client)
		return 0;
	__builtin_memset(&r, 0, sizeof(r));
	head(&r.head, KIND_CLIENT_EXIT);
	read_name(&r.id, t);
	if (l) {
		r.head.kind = KIND_EXIT;
		r.entry = l->root;
		/* As wait(2) sees it. SIGNAL_GROUP_EXIT is 4. */
		r.code = sig->flags & 4 ? sig->group_exit_code : t->group_leader->exit_code;
	}
	output(&r, sizeof(r), client ? BPF_RB_FORCE_WAKEUP : when_idle(r.head.time));
	return 0;
}
