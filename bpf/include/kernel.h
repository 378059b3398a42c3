/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The kernel's types, reduced to the fields that the sensor reads. The offsets
 * come from the running kernel's BTF when a program is loaded (CO-RE), so
 * order and gaps here mean nothing; only names and types must be true.
 *
 * A type or field with a triple underscore in its name is one version's
 * variant: the part before it is the real name.
 */
#pragma once
#define __VMLINUX_H__ /* keeps libbpf's headers from asking for more */

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __s64 s64;
typedef __u64 u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef _Bool bool;
typedef int pid_t;
typedef unsigned long size_t;

enum { false = 0, true = 1 };

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_F_NO_PREALLOC = 1,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;
typedef struct {
	s64 counter;
} atomic64_t;
typedef struct {
	unsigned int val;
} kuid_t;
typedef struct {
	unsigned int val;
} kgid_t;

/* Namespaces and pids. */
struct ns_common {
	unsigned int inum;
};
struct ns_common___id { /* Linux >= 6.18 */
	u64 ns_id;
};
struct pid_namespace {
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1]; /* level + 1 of them */
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

/* Files. */
struct qstr {
	u32 len;
	const unsigned char *name;
};
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};
struct list_head {
	struct list_head *next;
};
struct super_block {
	u32 s_dev;
	unsigned long s_magic;
};
struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	u32 i_generation;
	char *i_link; /* of a symbolic link, when it is at hand */
};
struct dentry {
	unsigned int d_flags;
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};
struct dentry___hlist { /* Linux >= 6.8 */
	struct hlist_node d_sib;
	struct hlist_head d_children;
};
enum dentry_flags { /* in BTF since Linux 6.15 */
	DCACHE_MOUNTED = 1 << 16, /* relocated */
};
struct vfsmount {
	struct dentry *mnt_root;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	struct inode *f_inode;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct list_head mnt_mounts, mnt_child;
	struct mnt_namespace *mnt_ns;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct mnt_namespace___seq { /* Linux < 6.18 */
	u64 seq;
};
struct fs_struct {
	struct path root, pwd;
};
struct linux_binprm {
	struct file *file;
	const char *filename;
};
struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

/* Control groups. */
struct kernfs_node {
	const char *name;
	u64 id;
};
struct kernfs_node___new { /* Linux >= 6.15 */
	struct kernfs_node *__parent;
};
struct kernfs_node___old {
	struct kernfs_node *parent;
};
struct cgroup_root;
struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};
enum cgroup_subsys_id {
	pids_cgrp_id = 11, /* relocated */
};

/* Tasks. */
struct cred {
	kuid_t uid;
	kgid_t gid;
};
struct tty_struct {
	char name[64];
};
struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
	struct tty_struct *tty;
};
struct task_struct {
	struct mm_struct *mm;
	int exit_code;
	pid_t pid, tgid;
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	u64 start_boottime;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	kuid_t loginuid;
	unsigned int sessionid;
	struct css_set *cgroups;
};

/* Sockets. */
struct in6_addr {
	u8 bytes[16];
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
	u32 skc_daddr, skc_rcv_saddr;
	unsigned short skc_dport; /* big-endian */
	u16 skc_num;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct socket {
	struct file *file;
};
struct sk_buff_head {
	u32 qlen;
};
struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	u8 sk_shutdown;
	struct socket *sk_socket;
	struct pid *sk_peer_pid;
	const struct cred *sk_peer_cred;
	u16 sk_protocol;
};
struct tcp_sock {
	u32 rcv_nxt, snd_una;
	u64 bytes_received;
};
struct sockaddr {
	unsigned short sa_family;
};
struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
};
struct unix_address {
	int len;
	struct sockaddr_un name[1];
};
struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};
struct bpf_sock_addr_kern {
	struct sockaddr *uaddr;
	u32 uaddrlen;
};
struct bpf_sock_addr {
	u32 user_family;
};

/* Iterators. */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	u64 seq_num;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
struct bpf_iter__unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *unix_sk;
};
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

/* A syscall's registers, as far as a read or write call of a socket needs. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long si;
	unsigned long orig_ax;
};
#define SYSCALL_NR(regs) ((long)(regs)->orig_ax)
#define SYSCALL_ARG2(regs) ((regs)->si)
enum {
	NR_read = 0,
	NR_write = 1,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	s32 syscallno;
};
#define SYSCALL_NR(r) ((long)(r)->syscallno)
#define SYSCALL_ARG2(r) ((r)->regs[1])
enum {
	NR_read = 63,
	NR_write = 64,
	NR_readv = 65,
	NR_writev = 66,
	NR_sendto = 206,
	NR_recvfrom = 207,
	NR_sendmsg = 211,
	NR_recvmsg = 212,
};
#else
#error "unknown target architecture"
#endif

#pragma clang attribute pop

/* What userland passes to readv and recvmsg; no kernel layout to relocate. */
struct user_iovec {
	u64 base, len;
};
struct user_msghdr {
	u64 name;
	u64 namelen;
	u64 iov, iovlen;
};
