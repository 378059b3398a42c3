/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Finding out which file a path leads to, by what the kernel has in memory. It
 * is a look and no proof: names may change before connect looks again, and some
 * paths cannot be followed here (.., links that are not at hand, /proc's).
 */
#pragma once

enum {
	PART = 64, /* longest component, with its end */
	PARTS = 32,
	CHILDREN = 1 << 14, /* of a directory */
	MOUNTS = 1 << 12,   /* below a mount */
	STACKED = 4,	    /* mounts on one directory */
	S_IFMT = 0170000,
	S_IFLNK = 0120000,
};

struct spot {
	struct dentry *dentry;
	struct mount *mnt;
};

struct part {
	u64 words[PART / 8];
};

/* Zeros fill both after their ends. */
static __always_inline bool same_part(struct part *a, struct part *b)
{
	u64 differ = 0;

	for (int i = 0; i < PART / 8; i++)
		differ |= a->words[i] ^ b->words[i];
	return !differ;
}

struct resolve {
	struct spot at, root;
	/* Texts that are still to be followed, the present one first: the
	 * address, and symbolic links in it. */
	u64 text, outer, outmost, end; /* end: of the address */
	struct part part;
	u32 len;
	struct hlist_node *node; /* of the directory that is looked through */
	struct dentry *child;
	struct list_head *entry, *entries; /* of mounts */
	struct mount *over;
	u32 lost; /* it cannot be told where the path leads */
};

static long part_end(u64 i, struct resolve *r)
{
	u8 *p = (u8 *)&r->part;

	i = at_most(i, PART - 1);
	if (p[i] && p[i] != '/')
		return 0;
	r->len = i;
	return 1;
}

static __always_inline void clear(struct part *p)
{
	for (int i = 0; i < PART / 8; i++)
		p->words[i] = 0;
}

/* Reads the next component; r->len is 0 where two slashes follow each other.
 * Returns false at the end of all texts. */
static __always_inline bool next_part(struct resolve *r)
{
	u64 n = PART;
	u8 *p = (u8 *)&r->part;

	clear(&r->part);
	r->len = PART;
	/* Links end with a NUL; the address may not, and is the last text. */
	if (!r->outer) {
		if (r->text >= r->end)
			return false;
		n = at_most(r->end - r->text, PART);
	}
	if (n < 1 || bpf_probe_read_kernel(&r->part, n, (void *)r->text)) {
		r->lost = 1;
		return false;
	}
	bpf_loop(PART, part_end, r, 0);
	if (r->len >= PART) {
		r->lost = 1;
		return false;
	}
	bool end = !p[at_most(r->len, PART - 1)];
	clear(&r->part); /* of what follows it */
	bpf_probe_read_kernel(&r->part, at_most(r->len, PART - 1), (void *)r->text);
	r->text += r->len;
	if (!end) {
		r->text++;
	} else if (r->outer) {
		r->text = r->outer;
		r->outer = r->outmost;
		r->outmost = 0;
	} else {
		r->end = r->text;
	}
	return true;
}

static long look_child(u32 i, struct resolve *r)
{
	struct dentry___hlist *d;
	struct part name = {};

	if (!r->node)
		return 1;
	d = (void *)r->node - bpf_core_field_offset(struct dentry___hlist, d_sib);
	r->node = BPF_CORE_READ(d, d_sib.next);
	struct dentry *child = (void *)d;
	if (BPF_CORE_READ(child, d_name.len) != r->len || !BPF_CORE_READ(child, d_hash.pprev))
		return 0; /* another name, or one that was removed */
	bpf_probe_read_kernel_str(&name, sizeof(name), BPF_CORE_READ(child, d_name.name));
	if (!same_part(&name, &r->part))
		return 0;
	r->child = child;
	return 1;
}

static long look_mount(u32 i, struct resolve *r)
{
	if (!r->entry || r->entry == r->entries)
		return 1;
	struct mount *m = (void *)r->entry - bpf_core_field_offset(struct mount, mnt_child);
	r->entry = BPF_CORE_READ(m, mnt_child.next);
	if (BPF_CORE_READ(m, mnt_mountpoint) != r->at.dentry)
		return 0;
	r->over = m;
	return 1;
}

/* Goes on to what is mounted where the walk is. */
static long cross(u32 i, struct resolve *r)
{
	struct dentry *d = r->at.dentry; /* the macros relocate what they are given */
	u32 mounted = 1 << 16; /* before Linux 6.15 */

	if (bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED))
		mounted = bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED);
	if (!(BPF_CORE_READ(d, d_flags) & mounted))
		return 1;
	struct list_head *all = (void *)r->at.mnt + bpf_core_field_offset(struct mount, mnt_mounts);
	r->entries = all;
	r->entry = BPF_CORE_READ(all, next);
	r->over = 0;
	bpf_loop(MOUNTS, look_mount, r, 0);
	if (!r->over) /* mounted in another namespace */
		return 1;
	struct mount *over = r->over;
	r->at.mnt = over;
	r->at.dentry = BPF_CORE_READ(over, mnt.mnt_root);
	return 0;
}

/* Goes on with a symbolic link that lies where the walk is. */
static __always_inline void follow(struct resolve *r, struct inode *link)
{
	u64 text = (u64)BPF_CORE_READ(link, i_link);
	char first = 0;

	if (!text || r->outmost) {
		r->lost = 1;
		return;
	}
	r->outmost = r->outer;
	r->outer = r->text; /* what is left behind it, if only the end */
	r->text = text;
	bpf_probe_read_kernel(&first, 1, (void *)text);
	if (first == '/')
		r->at = r->root;
}

static long resolve_step(u32 i, struct resolve *r)
{
	u8 *p = (u8 *)&r->part;

	if (!next_part(r))
		return 1;
	if (!r->len || (r->len == 1 && p[0] == '.'))
		return 0;
	if (r->len == 2 && p[0] == '.' && p[1] == '.') {
		r->lost = 1;
		return 1;
	}
	struct dentry___hlist *dir = (void *)r->at.dentry;
	r->node = BPF_CORE_READ(dir, d_children.first);
	r->child = 0;
	bpf_loop(CHILDREN, look_child, r, 0);
	if (!r->child) {
		r->lost = 1; /* not there, or not in memory */
		return 1;
	}
	struct dentry *child = r->child;
	struct inode *inode = BPF_CORE_READ(child, d_inode);
	if (inode && (BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFLNK) {
		follow(r, inode);
		return r->lost;
	}
	r->at.dentry = child;
	bpf_loop(STACKED, cross, r, 0);
	return 0;
}

/* The file that a unix address leads to for a task; 0 when that cannot be told. */
static __always_inline struct inode *resolve(struct resolve *r, void *address, u32 len, struct task_struct *t)
{
	struct fs_struct *fs = BPF_CORE_READ(t, fs); /* as a number: it is calculated with */
	char first = 0;

	if (!bpf_core_field_exists(struct dentry___hlist, d_children) || !fs)
		return 0;
	r->root.dentry = BPF_CORE_READ(fs, root.dentry);
	r->root.mnt = real_mount(BPF_CORE_READ(fs, root.mnt));
	r->at = r->root;
	r->text = (u64)address;
	r->end = r->text + len;
	bpf_probe_read_kernel(&first, 1, address);
	if (first != '/') {
		r->at.dentry = BPF_CORE_READ(fs, pwd.dentry);
		r->at.mnt = real_mount(BPF_CORE_READ(fs, pwd.mnt));
	}
	bpf_loop(PARTS, resolve_step, r, 0);
	if (r->lost || r->outer || r->text < r->end)
		return 0;
	struct dentry *d = r->at.dentry;
	return BPF_CORE_READ(d, d_inode);
}
