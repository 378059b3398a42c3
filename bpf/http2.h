/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * What a service that speaks HTTP/2 (gRPC) receives. Whoever follows such a
 * connection needs the header of every frame; of the rest only what closely
 * follows a request's headers is worth showing, so that a client that sends an
 * image costs little more than its frames' headers.
 */
#pragma once

enum {
	FRAME_HEAD = 9,
	FRAME_MAX = 16384, /* no server of ours allows longer ones */
	FRAMES_MAX = 4096, /* in one piece */
	FRAME_HEADERS = 1,
	FRAME_CONTINUATION = 9,
	PREFACE = 24,
	/* Shown of what a request's headers are followed by. */
	FRAME_BUDGET = 64 << 10,
	PIECES_MAX = 4, /* records of MAX_FRAME bytes for one piece */
};

/* A walk over the frames in one received piece. It lies in a map and not on the
 * stack, where the verifier would follow every position one by one. */
struct frames {
	u64 buf, offset;
	u32 pos, size;
	u32 show;   /* from here on all is shown; size when nothing is */
	u32 broken; /* these are no frames */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct frames);
} frames_scratch SEC(".maps");

struct frame_walk {
	struct frames *f;
	struct conn *c;
	struct unix_sock *us;
};

static __always_inline void show_part(struct frame_walk *w, u32 from, u32 n)
{
	report_segment(w->c, w->us, w->f->buf + from, n, w->f->offset + from, n, 0);
}

/* Takes the header that is whole by now. */
static __always_inline void begin_frame(struct frames *w, struct conn *c)
{
	const u8 *h = c->part;
	u32 len = h[0] << 16 | h[1] << 8 | h[2];

	c->part_len = 0;
	/* A connection that was found in the middle may not be at a frame. */
	if (len > FRAME_MAX || (!(c->flags & CONN_WHOLE) && (h[3] > FRAME_CONTINUATION || h[5] & 0x80))) {
		w->broken = 1;
		return;
	}
	c->frame_left = len;
	if (h[3] == FRAME_HEADERS || h[3] == FRAME_CONTINUATION) {
		c->receive_left = FRAME_BUDGET;
		if (w->pos < w->show)
			w->show = w->pos;
	}
}

static long frame_step(u64 i, struct frame_walk *walk)
{
	struct frames *w = walk->f;
	struct conn *c = walk->c;
	u32 n = w->size - w->pos;

	if (n > c->frame_left)
		n = c->frame_left;
	c->frame_left -= n;
	w->pos += n;
	if (w->pos >= w->size)
		return 1;
	u32 have = at_most(c->part_len, FRAME_HEAD - 1);
	n = at_most(w->size - w->pos, FRAME_HEAD - have);
	n = at_most(n, FRAME_HEAD);
	if (bpf_probe_read_user(&c->part[have], n, (void *)(w->buf + w->pos))) {
		w->broken = 1;
		return 1;
	}
	u32 at = w->pos;
	c->part_len = have + n;
	if (c->part_len == FRAME_HEAD)
		begin_frame(w, c);
	if (at < w->show)
		show_part(walk, at, n);
	w->pos = at + n;
	return w->broken ? 1 : 0;
}

static long show_step(u64 i, struct frame_walk *walk)
{
	struct frames *w = walk->f;
	u32 n = w->size - w->show;

	if (w->show >= w->size)
		return 1;
	if (n > MAX_FRAME)
		n = MAX_FRAME;
	show_part(walk, w->show, n);
	w->show += n;
	return 0;
}

/* Takes a received piece of a connection; size bytes of it lie at buf. */
static __always_inline void tap_frames(struct conn *c, struct unix_sock *us, u64 buf, u32 size,
				       u64 offset)
{
	u32 zero = 0, preface = 0;
	struct frames *w = bpf_map_lookup_elem(&frames_scratch, &zero);
	struct frame_walk walk = {.f = w, .c = c, .us = us};

	if (!w || !buf)
		return;
	w->buf = buf;
	w->offset = offset;
	w->pos = 0;
	w->size = size;
	w->broken = 0;
	bpf_probe_read_user(&preface, sizeof(preface), (void *)buf);
	if (preface == 0x20495250 /* "PRI " */ && (!offset || !(c->flags & CONN_WHOLE))) {
		c->frame_left = PREFACE;
		c->part_len = 0;
		c->receive_left = FRAME_BUDGET;
	}
	w->show = c->receive_left > 0 ? 0 : size;
	bpf_loop(FRAMES_MAX, frame_step, &walk, 0);
	if (w->broken) { /* whoever parses this has to look for himself */
		c->frame_left = 0;
		c->part_len = 0;
		w->show = 0;
	}
	c->receive_left -= w->size - w->show;
	bpf_loop(PIECES_MAX, show_step, &walk, 0);
}
