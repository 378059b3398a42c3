/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What is there already: run through an iterator by userland. */
#pragma once

/* Iterators can be preempted by the tracepoint programs: a scratch of their own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} dump_scratch SEC(".maps");

/*
 * Finds out what an ordinary process of this host has. Process 1 knows; where
 * the iterator does not show it, the reader itself has to do.
 */
SEC("iter/task")
int find_host(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	u32 reader = bpf_get_current_pid_tgid() >> 32;

	if (!t || t->pid != t->tgid || !t->nsproxy || !t->fs)
		return 0;
	if (t->pid != 1 && (t->pid != reader || host_root))
		return 0;
	host_mnt_ns = t->nsproxy->mnt_ns;
	host_root = t->fs->root.mnt->mnt_root;
	return 0;
}

/* What it takes to tell whether a task is in a container, and in which. */
struct abode {
	void *mnt_ns, *pid_ns;
	bool inside;
};

/* Tasks are read as memory here: a chain of typed pointers in a loop takes the
 * verifier seconds. */
static __always_inline void read_abode(struct abode *a, struct task_struct *t)
{
	struct dentry *root = BPF_CORE_READ(t, fs, root.mnt, mnt_root);

	a->inside = false;
	a->mnt_ns = BPF_CORE_READ(t, nsproxy, mnt_ns);
	a->pid_ns = active_pid_ns(t);
	if (!a->pid_ns || !a->mnt_ns || !BPF_CORE_READ(t, mm))
		return;
	a->inside = BPF_CORE_READ(t, thread_pid, level) > 0 ||
		    (a->mnt_ns != host_mnt_ns && root != host_root);
}

struct ascent {
	struct task_struct *task;
	struct abode at;
};

/* One step up to the root of an entry: the last one whose parent is outside. */
static long ascend(u32 i, struct ascent *a)
{
	struct task_struct *t = a->task; /* see walk_step */
	struct task_struct *parent = BPF_CORE_READ(t, real_parent, group_leader);
	struct abode up = {};

	read_abode(&up, parent);
	if (!up.inside || (up.mnt_ns != a->at.mnt_ns && up.pid_ns != a->at.pid_ns))
		return 1;
	a->task = parent;
	a->at = up;
	return 0;
}

/*
 * Labels what runs in containers and reports it. The root of an entry is the
 * first ancestor whose own parent is outside. A process that was orphaned
 * before hangs from the container's first process: how it came is lost.
 */
SEC("iter/task")
int find_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct ascent a = {};
	u32 zero = 0;
	u8 one = 1;

	if (!self_pid)
		self_pid = bpf_get_current_pid_tgid() >> 32;
	if (!t || bpf_task_storage_get(&labels, t, 0, 0))
		return 0;
	a.task = t->group_leader;
	read_abode(&a.at, a.task);
	struct scratch *s = bpf_map_lookup_elem(&dump_scratch, &zero);
	if (!s || !a.at.inside)
		return 0;
	struct found_record *r = FIXED(s, struct found_record);
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_FOUND);
	read_process_id(&r->id, t);
	read_process_id(&r->parent, t->real_parent);
	read_place(&r->place, t);

	bpf_loop(64, ascend, &a, 0);
	struct task_struct *root = a.task;
	r->entry.pid = BPF_CORE_READ(root, tgid);
	r->entry.start = BPF_CORE_READ(root, start_boottime);
	struct label fresh = {.root = r->entry, .mnt_id = r->place.mnt_id};
	if (!bpf_task_storage_get(&labels, t, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return 0;
	bpf_map_update_elem(&mounts_seen, &fresh.mnt_id, &one, BPF_ANY);
	if (t->pid != t->tgid)
		return 0;
	read_identity(&r->who, t);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), t->comm);
	read_tty(r->tty, sizeof(r->tty), t);
	u32 off = append_names(s->data, 0, DATA_MASK, cgroup_node(t));
	r->cgroup_len = off;
	submit(s, sizeof(*r), off, 0);
	return 0;
}
