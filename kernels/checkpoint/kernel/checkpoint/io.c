// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stream of records.
 *
 * Small records are gathered in one buffer and go out in one write; pages
 * bypass it and are copied once, from the task's page to the file.  Reading
 * mirrors that.  The image may be a pipe: nothing here seeks.
 *
 * A checkpoint writes with no lock held.  On restart the reader is whoever
 * holds the context, see restart.c.
 */
#include <linux/bvec.h>
#include <linux/checkpoint.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "internal.h"

static int write_out(struct ckpt_ctx *ctx, const void *data, size_t len)
{
	while (len) {
		ssize_t n = kernel_write(ctx->file, data, len, &ctx->pos);

		/* Begun anew, the call would write a second image behind half of the first. */
		if (n == -ERESTARTSYS)
			n = -EINTR;
		if (n <= 0)
			return ckpt_err(ctx, n ? n : -EIO, "cannot write the image at %llu",
					ctx->total - len);
		data += n;
		len -= n;
		if (signal_pending(current) && len)
			return ckpt_err(ctx, -EINTR, "a signal came while the image was written");
	}
	return 0;
}

int ckpt_write_flush(struct ckpt_ctx *ctx)
{
	size_t len = ctx->buf_len;

	ctx->buf_len = 0;
	return write_out(ctx, ctx->buf, len);
}

int ckpt_write_data(struct ckpt_ctx *ctx, const void *data, size_t len)
{
	int err;

	xxh64_update(&ctx->checksum, data, len);
	ctx->total += len;
	while (len) {
		size_t n = min(len, CKPT_BUF_SIZE - ctx->buf_len);

		memcpy(ctx->buf + ctx->buf_len, data, n);
		ctx->buf_len += n;
		data += n;
		len -= n;
		if (ctx->buf_len == CKPT_BUF_SIZE) {
			err = ckpt_write_flush(ctx);
			if (err)
				return err;
		}
	}
	return 0;
}

int ckpt_write_begin(struct ckpt_ctx *ctx, enum ckpt_record type, void *rec,
		     size_t fixed, size_t len)
{
	struct ckpt_hdr *h = rec;

	if (WARN_ON_ONCE(!IS_ALIGNED(len, 8) || fixed > len))
		return -EINVAL;
	if (len > CKPT_RECORD_MAX && !ckpt_record_ops[type].payload)
		return ckpt_err(ctx, -E2BIG, "%s record of %zu bytes, at most %u are possible",
				ckpt_record_ops[type].name, len, CKPT_RECORD_MAX);
	h->type = type;
	h->len = len;
	return ckpt_write_data(ctx, rec, fixed);
}

int ckpt_write_record(struct ckpt_ctx *ctx, enum ckpt_record type, void *rec, size_t len)
{
	return ckpt_write_begin(ctx, type, rec, len, len);
}

static void checksum_pages(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		void *addr = kmap_local_page(pages[i]);

		xxh64_update(&ctx->checksum, addr, PAGE_SIZE);
		kunmap_local(addr);
	}
	ctx->total += (u64)nr << PAGE_SHIFT;
}

/* Point ctx->bvec at @nr pages, the first @skip bytes left out. */
static size_t fill_bvec(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr, size_t skip)
{
	struct bio_vec *bvec = ctx->bvec;

	for (unsigned int i = 0; i < nr; i++)
		bvec_set_page(&bvec[i], pages[i], PAGE_SIZE, 0);
	bvec[0].bv_offset += skip;
	bvec[0].bv_len -= skip;
	return ((size_t)nr << PAGE_SHIFT) - skip;
}

int ckpt_write_pages(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr)
{
	struct iov_iter iter;
	size_t skip = 0;
	int err;

	err = ckpt_write_flush(ctx);
	if (err)
		return err;
	checksum_pages(ctx, pages, nr);
	while (nr) {
		unsigned int n = min(nr, CKPT_RUN_PAGES);
		size_t len = fill_bvec(ctx, pages, n, skip);
		ssize_t done;

		iov_iter_bvec(&iter, ITER_SOURCE, ctx->bvec, n, len);
		done = vfs_iter_write(ctx->file, &iter, &ctx->pos, 0);
		if (done == -ERESTARTSYS)
			done = -EINTR;
		if (done <= 0)
			return ckpt_err(ctx, done ? done : -EIO,
					"cannot write pages to the image");
		if (signal_pending(current) && done < len)
			return ckpt_err(ctx, -EINTR, "a signal came while the image was written");
		done += skip;
		pages += done >> PAGE_SHIFT;
		nr -= done >> PAGE_SHIFT;
		skip = done & ~PAGE_MASK;
		cond_resched();
	}
	return 0;
}

int ckpt_write_trailer(struct ckpt_ctx *ctx)
{
	struct ckpt_rec_trailer rec = {
		.bytes = ctx->total,
		.checksum = xxh64_digest(&ctx->checksum),
	};
	int err;

	memcpy(rec.magic, CKPT_MAGIC, sizeof(rec.magic));
	err = ckpt_write_record(ctx, CKPT_REC_TRAILER, &rec, sizeof(rec));
	return err ?: ckpt_write_flush(ctx);
}

/* Best effort: the image ends in the middle of a record if that could not be written. */
void ckpt_write_error(struct ckpt_ctx *ctx)
{
	size_t text_len = strlen(ctx->err_text) + 1;
	size_t len = sizeof(struct ckpt_rec_error) + ALIGN(text_len, 8);
	struct ckpt_rec_error *rec __free(kfree) = kzalloc(len, GFP_KERNEL);

	if (!rec || ctx->is_mute)
		return;
	rec->error = -ctx->err;
	rec->pid = ctx->current_pid;
	rec->objref = ctx->current_objref;
	rec->text_len = text_len;
	memcpy(rec->text, ctx->err_text, text_len);
	if (!ckpt_write_record(ctx, CKPT_REC_ERROR, rec, len))
		ckpt_write_flush(ctx);
}

/* Hand out @len bytes of the image, from the buffer first. */
static int read_data(struct ckpt_ctx *ctx, void *data, size_t len)
{
	ctx->total += len;
	while (len) {
		size_t have = ctx->buf_len - ctx->buf_off;
		ssize_t n;

		if (have) {
			n = min(have, len);
			memcpy(data, ctx->buf + ctx->buf_off, n);
			ctx->buf_off += n;
			data += n;
			len -= n;
			continue;
		}
		ctx->buf_off = 0;
		ctx->buf_len = 0;
		n = kernel_read(ctx->file, ctx->buf, CKPT_BUF_SIZE, &ctx->pos);
		if (n < 0)
			return ckpt_err(ctx, n == -ERESTARTSYS ? -EINTR : n,
					"cannot read the image");
		if (n == 0)
			return ckpt_err(ctx, -EINVAL, "the image ends here, it is truncated");
		ctx->buf_len = n;
	}
	return 0;
}

static int check_header(struct ckpt_ctx *ctx, const struct ckpt_hdr *h)
{
	const struct ckpt_record_ops *ops;

	if (h->type == 0 || h->type > CKPT_REC_MAX) {
		/* The first record tells which byte order the image has. */
		if (!ctx->total || swab32(h->type) == CKPT_REC_HEADER)
			return ckpt_err(ctx, -EINVAL,
					"type %#x: not an image, or one of the other byte order",
					h->type);
		return ckpt_err(ctx, -EINVAL, "unknown record type %u", h->type);
	}
	ops = &ckpt_record_ops[h->type];
	ctx->rec_name = ops->name;
	if (!IS_ALIGNED(h->len, 8) || h->len < ops->fixed)
		return ckpt_err(ctx, -EINVAL,
				"length %u, at least %u and a multiple of 8 are needed",
				h->len, ops->fixed);
	if (!ops->variable && !ops->payload && h->len != ops->fixed)
		return ckpt_err(ctx, -EINVAL, "length %u instead of %u", h->len, ops->fixed);
	if (ops->payload ? h->len - ops->fixed > CKPT_PAGES_MAX_BYTES : h->len > CKPT_RECORD_MAX)
		return ckpt_err(ctx, -EINVAL, "length %u is too much", h->len);
	return 0;
}

int ckpt_read_record(struct ckpt_ctx *ctx)
{
	struct xxh64_state before = ctx->checksum;
	u64 total = ctx->total;
	struct ckpt_hdr h;
	size_t want;
	int err;

	ctx->rec_name = "header";
	ctx->rec_at = total;
	ctx->current_objref = 0;
	err = read_data(ctx, &h, sizeof(h));
	if (err)
		return err;
	err = check_header(ctx, &h);
	if (err)
		return err;
	want = ckpt_record_ops[h.type].payload ? ckpt_record_ops[h.type].fixed : h.len;
	if (want > ctx->rec_size) {
		kvfree(ctx->rec);
		ctx->rec_size = 0;
		ctx->rec = kvmalloc(want, GFP_KERNEL_ACCOUNT);
		if (!ctx->rec)
			return ckpt_nomem(ctx, "%zu bytes", want);
		ctx->rec_size = want;
	}
	*ctx->rec = h;
	err = read_data(ctx, ctx->rec + 1, want - sizeof(h));
	if (err)
		return err;
	if (h.type == CKPT_REC_TRAILER) {
		/* Not a part of what it sums up. */
		ctx->checksum = before;
		ctx->total = total;
		return 0;
	}
	xxh64_update(&ctx->checksum, ctx->rec, want);
	if (h.type == CKPT_REC_ERROR) {
		struct ckpt_rec_error *rec = (struct ckpt_rec_error *)ctx->rec;
		u32 len = min_t(u32, rec->text_len, want - sizeof(*rec));

		return ckpt_err(ctx, -EINVAL, "the checkpoint had failed: %.*s",
				(int)strnlen(rec->text, len), rec->text);
	}
	return 0;
}

int ckpt_read_pages(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr)
{
	struct page **first = pages;
	unsigned int all = nr;
	struct iov_iter iter;
	size_t skip = 0;

	/* What was read ahead goes first. */
	while (nr && ctx->buf_len > ctx->buf_off) {
		size_t n = min(ctx->buf_len - ctx->buf_off, PAGE_SIZE - skip);

		memcpy_to_page(*pages, skip, ctx->buf + ctx->buf_off, n);
		ctx->buf_off += n;
		skip += n;
		if (skip == PAGE_SIZE) {
			skip = 0;
			pages++;
			nr--;
		}
	}
	while (nr) {
		unsigned int n = min(nr, CKPT_RUN_PAGES);
		size_t len = fill_bvec(ctx, pages, n, skip);
		ssize_t done;

		iov_iter_bvec(&iter, ITER_DEST, ctx->bvec, n, len);
		done = vfs_iter_read(ctx->file, &iter, &ctx->pos, 0);
		if (done < 0)
			return ckpt_err(ctx, done == -ERESTARTSYS ? -EINTR : done,
					"cannot read the image");
		if (done == 0)
			return ckpt_err(ctx, -EINVAL, "the image ends here, it is truncated");
		done += skip;
		pages += done >> PAGE_SHIFT;
		nr -= done >> PAGE_SHIFT;
		skip = done & ~PAGE_MASK;
		cond_resched();
	}
	checksum_pages(ctx, first, all);
	return 0;
}

int ckpt_check_trailer(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_trailer *rec = (struct ckpt_rec_trailer *)ctx->rec;
	u64 checksum;

	if (memcmp(rec->magic, CKPT_MAGIC, sizeof(rec->magic)))
		return ckpt_err(ctx, -EINVAL, "wrong magic");
	if (rec->bytes != ctx->total)
		return ckpt_err(ctx, -EINVAL, "the image has %llu bytes instead of %llu",
				ctx->total, rec->bytes);
	checksum = xxh64_digest(&ctx->checksum);
	if (rec->checksum != checksum)
		return ckpt_err(ctx, -EINVAL, "checksum %016llx instead of %016llx",
				checksum, rec->checksum);
	return 0;
}

