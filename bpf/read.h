/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Reading what a task is: names, paths, arguments, namespaces. */
#pragma once

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

/* A bound that the verifier believes: the compiler may not derive it anew. */
static __always_inline u64 at_most(u64 v, u64 max)
{
	barrier_var(v);
	if (v > max)
		v = max;
	barrier_var(v);
	return v;
}

/* Scratch for one record. The programs that use it run with preemption off. */
enum {
	FIXED_MAX = 1024,
	DATA_MAX = 24576,
	DATA_MASK = 16383, /* where a piece of at most 8 KiB may begin */
};
struct scratch {
	u8 fixed[FIXED_MAX];
	u8 data[DATA_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* A record's fixed part, right before its data. */
#define FIXED(s, type) ((type *)((s)->fixed + FIXED_MAX - sizeof(type)))

static __always_inline struct scratch *get_scratch(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&scratch, &zero);
}

/*
 * The pid's number and namespace at the innermost level: the namespace that the
 * task itself lives in, not that of its children. Read as memory: Linux 6.1 lets
 * nobody calculate with a typed pointer.
 */
static __always_inline void *own_upid(struct task_struct *t)
{
	struct pid *pid = BPF_CORE_READ(t, thread_pid);

	if (!pid)
		return 0;
	return (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       (BPF_CORE_READ(pid, level) & 31) * bpf_core_type_size(struct upid);
}

static __always_inline u32 ns_pid(struct task_struct *t)
{
	void *upid = own_upid(t->group_leader);
	u32 nr = 0;

	if (upid)
		bpf_probe_read_kernel(&nr, sizeof(nr), upid + bpf_core_field_offset(struct upid, nr));
	return nr;
}

static __always_inline struct pid_namespace *active_pid_ns(struct task_struct *t)
{
	void *upid = own_upid(t);
	struct pid_namespace *ns = 0;

	if (upid)
		bpf_probe_read_kernel(&ns, sizeof(ns), upid + bpf_core_field_offset(struct upid, ns));
	return ns;
}

/* A number that no other mount namespace of this boot has. */
static __always_inline u64 mnt_ns_id(struct mnt_namespace *ns)
{
	if (!ns)
		return 0;
	if (bpf_core_field_exists(struct mnt_namespace___seq, seq))
		return ((struct mnt_namespace___seq *)ns)->seq;
	if (bpf_core_field_exists(struct ns_common___id, ns_id))
		return ((struct ns_common___id *)&ns->ns)->ns_id;
	return 0;
}

/* The same of a namespace that is read as memory. */
static __always_inline u64 read_mnt_ns_id(struct mnt_namespace *ns)
{
	u64 id = 0;

	if (bpf_core_field_exists(struct mnt_namespace___seq, seq))
		bpf_core_read(&id, sizeof(id), &((struct mnt_namespace___seq *)ns)->seq);
	else if (bpf_core_field_exists(struct ns_common___id, ns_id))
		bpf_core_read(&id, sizeof(id), &((struct ns_common___id *)&ns->ns)->ns_id);
	return id;
}

/* Names a process, but for its number in its own namespace. */
static __always_inline void read_name(struct process_id *id, struct task_struct *t)
{
	id->pid = t->tgid;
	id->start = t->group_leader->start_boottime;
}

static __always_inline void read_process_id(struct process_id *id, struct task_struct *t)
{
	read_name(id, t);
	id->ns_pid = ns_pid(t);
}

static __always_inline void read_identity(struct identity *who, struct task_struct *t)
{
	const struct cred *cred = t->cred;

	who->uid = cred->uid.val;
	who->gid = cred->gid.val;
	who->loginuid = who->session = -1;
	if (bpf_core_field_exists(t->loginuid)) {
		who->loginuid = t->loginuid.val;
		who->session = t->sessionid;
	}
}

static __always_inline void read_place(struct place *p, struct task_struct *t)
{
	struct nsproxy *ns = t->nsproxy;
	struct pid_namespace *pid_ns = active_pid_ns(t);

	if (ns && ns->mnt_ns) {
		p->mnt_ns = ns->mnt_ns->ns.inum;
		p->mnt_id = mnt_ns_id(ns->mnt_ns);
	}
	if (pid_ns)
		p->pid_ns = BPF_CORE_READ(pid_ns, ns.inum);
}

static __always_inline void read_tty(u8 *to, u32 size, struct task_struct *t)
{
	struct signal_struct *sig = t->signal;
	struct tty_struct *tty = sig ? sig->tty : 0;

	if (tty)
		bpf_probe_read_kernel_str(to, size, tty->name);
	else
		to[0] = 0;
}

/* The mount that a vfsmount is part of. */
static __always_inline struct mount *real_mount(struct vfsmount *m)
{
	return (void *)m - bpf_core_field_offset(struct mount, mnt);
}

#define WALK_WHOLE (1u << 31)

struct walk {
	struct dentry *dentry, *root_dentry;
	struct mount *mnt, *root_mnt;
	u8 *to; /* MAX_PATH + MAX_NAME bytes */
	u64 off;
	u32 whole;
};

/* One step of walk_path: a component, or up through a mount point. */
static long walk_step(u32 i, struct walk *w)
{
	struct dentry *d = w->dentry, *parent;
	struct mount *m = w->mnt; /* the macros below relocate what they are given */

	if (d == w->root_dentry && m == w->root_mnt) {
		w->whole = 1;
		return 1;
	}
	if (d == BPF_CORE_READ(m, mnt.mnt_root)) {
		struct mount *up = BPF_CORE_READ(m, mnt_parent);

		if (up == m) { /* outside the process's root: absolute all the same, */
			w->whole = w->off > 0; /* but for a file mounted nowhere */
			return 1;
		}
		w->dentry = BPF_CORE_READ(m, mnt_mountpoint);
		w->mnt = up;
		return 0;
	}
	parent = BPF_CORE_READ(d, d_parent);
	u64 off = at_most(w->off, MAX_PATH);
	long n = bpf_probe_read_kernel_str(w->to + off, MAX_NAME, BPF_CORE_READ(d, d_name.name));
	if (n <= 0 || off + n > MAX_PATH)
		return 1;
	w->off = off + n;
	if (parent == d)
		return 1; /* no directory at all: memfd, pipe */
	w->dentry = parent;
	return 0;
}

#define WALK_WHOLE (1u << 31)

/* Prepares a walk from an executable up to the root of the task. The pointers
 * are read as memory: as typed pointers they could not be changed. */
static __always_inline void begin_walk(struct walk *w, struct file *f, struct task_struct *t, u8 *to)
{
	struct fs_struct *fs = BPF_CORE_READ(t, fs);

	w->dentry = BPF_CORE_READ(f, f_path.dentry);
	w->mnt = real_mount(BPF_CORE_READ(f, f_path.mnt));
	w->root_dentry = BPF_CORE_READ(fs, root.dentry);
	w->root_mnt = real_mount(BPF_CORE_READ(fs, root.mnt));
	w->to = to;
	w->off = 0;
	w->whole = 0;
}

/*
 * Appends the components of an executable's path, the last one first. Returns
 * the new offset, with WALK_WHOLE when they reach the task's root. Not static,
 * and with numbers for pointers: the verifier then looks at it once.
 */
__noinline u64 walk_path(u64 off, u64 file, u64 task)
{
	struct scratch *s = get_scratch();
	struct walk w;

	if (!s)
		return off;
	off = at_most(off, DATA_MASK);
	begin_walk(&w, (void *)file, (void *)task, &s->data[off]);
	bpf_loop(MAX_COMPONENTS, walk_step, &w, 0);
	return (off + w.off) | (w.whole ? WALK_WHOLE : 0);
}

static __always_inline u32 read_path(u32 off, struct linux_binprm *bprm, u16 *flags)
{
	u64 end = walk_path(off, (u64)BPF_CORE_READ(bprm, file), bpf_get_current_task());

	if (end & WALK_WHOLE)
		*flags |= FLAG_PATH_WHOLE;
	return end & ~WALK_WHOLE;
}

enum {
	HASH_CHUNK = 64,
};

struct hash {
	u64 sum;
	u64 at, end;
	u32 bad;
};

/* Whole chunks while there are any, then byte by byte: loops of a length that
 * is known are cheap to verify. */
static long hash_step(u32 i, struct hash *h)
{
	u8 chunk[HASH_CHUNK];
	u64 left = h->end - h->at;

	if (!left)
		return 1;
	if (left < HASH_CHUNK) {
		h->bad |= bpf_probe_read_user(chunk, 1, (void *)h->at) != 0;
		h->sum = (h->sum ^ chunk[0]) * FNV_PRIME;
		h->at++;
		return h->bad;
	}
	if (bpf_probe_read_user(chunk, HASH_CHUNK, (void *)h->at)) {
		h->bad = 1;
		return 1;
	}
	for (u32 k = 0; k < HASH_CHUNK; k++)
		h->sum = (h->sum ^ chunk[k]) * FNV_PRIME;
	h->at += HASH_CHUNK;
	return 0;
}

/* The FNV-1a of the current process's memory; 0 when it cannot be read. */
__noinline u64 hash_user(u64 start, u64 end)
{
	struct hash h = {.sum = FNV_OFFSET, .at = start, .end = end};

	if (end - start > MAX_ARGV_HASHED)
		return 0;
	bpf_loop(MAX_ARGV_HASHED / HASH_CHUNK + HASH_CHUNK, hash_step, &h, 0);
	return h.bad ? 0 : h.sum;
}

struct argv {
	u64 hash;
	u32 total, len;
};

/* Appends the current process's arguments; returns the new offset. */
static __always_inline u32 read_argv(struct scratch *s, u64 off, struct mm_struct *mm,
				     struct argv *a)
{
	unsigned long start, end;

	if (!mm)
		return off;
	start = mm->arg_start;
	end = mm->arg_end;
	if (end <= start)
		return off;
	a->total = end - start;
	u64 n = at_most(end - start, MAX_ARGV);
	off = at_most(off, DATA_MASK);
	if (bpf_probe_read_user(&s->data[off], n, (void *)start))
		return off;
	a->len = n;
	if (a->total > MAX_ARGV)
		a->hash = hash_user(start, end);
	return off + n;
}

static __always_inline struct cgroup *own_cgroup(struct task_struct *t)
{
	struct css_set *set = t->cgroups;
	struct cgroup_subsys_state *css = 0;
	struct cgroup *dfl = set->dfl_cgrp, *pids;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		return dfl;
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)set + bpf_core_field_offset(struct css_set, subsys) +
				      8 * bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
	if (!css)
		return dfl;
	pids = BPF_CORE_READ(css, cgroup);
	/* On version 2 the controller may be off this far down: the default
	 * hierarchy then knows better where the task is. */
	if (BPF_CORE_READ(pids, root) == dfl->root)
		return dfl;
	return pids;
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	if (bpf_core_field_exists(struct kernfs_node___new, __parent))
		return BPF_CORE_READ((struct kernfs_node___new *)kn, __parent);
	return BPF_CORE_READ((struct kernfs_node___old *)kn, parent);
}

/* Appends the names of a cgroup and its parents, the deepest first. There is
 * room for one more name behind max. */
static __always_inline u32 append_names(u8 *to, u64 off, u64 max, struct kernfs_node *kn)
{
	for (int i = 0; i < MAX_CGROUPS && kn; i++) {
		struct kernfs_node *up = kernfs_parent(kn);

		if (!up) /* the root has no name */
			break;
		off = at_most(off, max);
		long n = bpf_probe_read_kernel_str(to + off, MAX_NAME, BPF_CORE_READ(kn, name));
		if (n <= 0)
			break;
		off += n;
		kn = up;
	}
	return off;
}

__noinline u64 walk_cgroup(u64 off, u64 kn)
{
	struct scratch *s = get_scratch();

	return s ? append_names(s->data, off, DATA_MASK, (void *)kn) : off;
}

static __always_inline struct kernfs_node *cgroup_node(struct task_struct *t)
{
	return BPF_CORE_READ(own_cgroup(t), kn);
}

static __always_inline void read_file(struct file *f, u64 *inode, u32 *device, u16 *flags)
{
	struct inode *i = f->f_inode;
	struct dentry *upper = 0;

	*inode = i->i_ino;
	*device = i->i_sb->s_dev;
	if (!i->i_nlink)
		*flags |= FLAG_NAMELESS;
	/* struct ovl_inode has held the upper dentry right behind the inode
	 * since Linux 4.13; its own type is in a module where overlayfs is one. */
	if (i->i_sb->s_magic == OVERLAYFS_SUPER_MAGIC) {
		bpf_probe_read_kernel(&upper, sizeof(upper),
				      (void *)i + bpf_core_type_size(struct inode));
		if (upper)
			*flags |= FLAG_UPPER;
	}
}
