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

static __always_inline bool in_container(struct task_struct *t)
{
	struct nsproxy *ns = t->nsproxy;

	if (!ns || !t->thread_pid || !t->mm)
		return false;
	return t->thread_pid->level > 0 || (ns->mnt_ns != host_mnt_ns && outside_root(t));
}

static __always_inline bool together(struct task_struct *a, struct task_struct *b)
{
	return active_pid_ns(a) == active_pid_ns(b) ||
	       BPF_CORE_READ(a, nsproxy, mnt_ns) == BPF_CORE_READ(b, nsproxy, mnt_ns);
}

/*
 * Labels what runs in containers and reports it. The root of an entry is the
 * first ancestor whose own parent is outside. A process that was orphaned
 * before hangs from the container's first process: how it came is lost.
 */
SEC("iter/task")
int find_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task, *root;
	u32 zero = 0;
	u8 one = 1;

	if (!self_pid)
		self_pid = bpf_get_current_pid_tgid() >> 32;
	if (!t || !in_container(t) || bpf_task_storage_get(&labels, t, 0, 0))
		return 0;
	struct scratch *s = bpf_map_lookup_elem(&dump_scratch, &zero);
	if (!s)
		return 0;
	root = t->group_leader;
	for (int i = 0; i < 64; i++) {
		struct task_struct *up = root->real_parent;

		if (!in_container(up) || !together(root, up))
			break;
		root = up->group_leader;
	}
	struct found_record *r = FIXED(s, struct found_record);
	__builtin_memset(r, 0, sizeof(*r));
	head(&r->head, KIND_FOUND);
	read_process_id(&r->id, t);
	read_process_id(&r->entry, root);
	read_process_id(&r->parent, t->real_parent);
	read_place(&r->place, t);
	struct label fresh = {.root = r->entry, .mnt_id = r->place.mnt_id};
	if (!bpf_task_storage_get(&labels, t, &fresh, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return 0;
	bpf_map_update_elem(&mounts_seen, &fresh.mnt_id, &one, BPF_ANY);
	if (t->pid != t->tgid)
		return 0;
	read_identity(&r->who, t);
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), t->comm);
	read_tty(r->tty, sizeof(r->tty), t);
	u32 off = append_names(s, 0, cgroup_node(t));
	r->cgroup_len = off;
	submit(s, sizeof(*r), off, 0);
	return 0;
}
