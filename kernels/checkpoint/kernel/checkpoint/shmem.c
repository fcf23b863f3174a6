// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared anonymous memory.
 *
 * Behind it is a file that has no name: each mapping has the same struct file,
 * which is the object that the tasks share.  Its contents are written once,
 * before the first address space that maps it; pages that were never touched
 * are holes.  On restart the member that comes to its record makes the file and
 * fills it, and it is mapped as any file is.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "internal.h"

/* The name that /proc/PID/maps shows; that of System V memory is another one. */
#define SHMEM_NAME	"dev/zero"

/* Is this the file behind shared anonymous memory? */
bool ckpt_is_shmem(const struct file *file)
{
	return IS_PRIVATE(file_inode(file)) && shmem_mapping(file->f_mapping) &&
	       file->f_path.mnt->mnt_flags & MNT_INTERNAL &&
	       !strcmp(file->f_path.dentry->d_name.name, SHMEM_NAME);
}

/*
 * Copy the pages from @index on, up to a hole; one that is swapped out is
 * brought in.  Who is not frozen may have the memory, too, and a page must not
 * change between its checksum and the image.
 */
static int copy_run(struct ckpt_ctx *ctx, struct inode *inode, pgoff_t index, pgoff_t end,
		   struct page **pages, unsigned int *nr)
{
	for (*nr = 0; *nr < CKPT_RUN_PAGES && index < end; index++) {
		struct folio *folio;
		struct page *copy;
		int err = shmem_get_folio(inode, index, 0, &folio, SGP_READ);

		if (err)
			return ckpt_err(ctx, err, "page %#lx of shared memory cannot be read", index);
		if (!folio)
			break;
		folio_unlock(folio);
		if (folio_test_hwpoison(folio) || folio_test_has_hwpoisoned(folio)) {
			folio_put(folio);
			return ckpt_err(ctx, -EIO, "page %#lx of shared memory is damaged", index);
		}
		copy = alloc_page(GFP_HIGHUSER | __GFP_ACCOUNT);
		if (copy) {
			copy_highpage(copy, folio_file_page(folio, index));
			pages[(*nr)++] = copy;
		}
		folio_put(folio);
		if (!copy)
			return ckpt_nomem(ctx, "a copy of a page");
	}
	return 0;
}

static int save_pages(struct ckpt_ctx *ctx, struct inode *inode, loff_t size)
{
	loff_t pos = 0;
	struct page **pages;
	int err = 0;

	pages = kvcalloc(CKPT_RUN_PAGES, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return ckpt_nomem(ctx, "a run of pages");
	while (!err) {
		unsigned int nr;

		pos = mapping_seek_hole_data(inode->i_mapping, pos, size, SEEK_DATA);
		if (pos < 0)
			break;
		err = copy_run(ctx, inode, pos >> PAGE_SHIFT, DIV_ROUND_UP(size, PAGE_SIZE), pages,
			      &nr);
		if (!err && nr)
			err = ckpt_pages_write(ctx, pos, pages, nr);
		for (unsigned int i = 0; i < nr; i++)
			put_page(pages[i]);
		/* One that was reserved and never used is a hole, too. */
		pos += (loff_t)max(nr, 1U) << PAGE_SHIFT;
		if (fatal_signal_pending(current) && !err)
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	kvfree(pages);
	return err;
}

int ckpt_shmem_save_contents(struct ckpt_ctx *ctx, struct inode *inode, loff_t size, int objref)
{
	struct ckpt_rec_shmem_end end = { .objref = objref };
	int err = save_pages(ctx, inode, size);

	return err ?: ckpt_write_record(ctx, CKPT_REC_SHMEM_END, &end, sizeof(end));
}

/**
 * ckpt_shmem_save - write shared anonymous memory
 * @ctx: the context
 * @file: the file behind it
 *
 * Return: its objref, or a negative errno.
 */
int ckpt_shmem_save(struct ckpt_ctx *ctx, struct file *file)
{
	struct inode *inode = file_inode(file);
	struct ckpt_rec_shmem rec = { .size = i_size_read(inode) };
	int objref, err;
	bool first;

	objref = ckpt_obj_ref(ctx, file, CKPT_OBJ_SHMEM, &first);
	if (objref < 0 || !first)
		return objref;
	ctx->current_objref = objref;
	/* By /proc/PID/map_files it may have been opened once more, or looked at for a moment. */
	for (int tries = 0; d_count(file->f_path.dentry) > 1; tries++) {
		if (tries == CKPT_LOOKS)
			return ckpt_err(ctx, -EBUSY, "shared memory is open as a file, too");
		usleep_range(200, 1000);
	}
	rec.objref = objref;
	if (SHMEM_I(inode)->flags & VM_NORESERVE)
		rec.flags |= CKPT_SHMEM_NORESERVE;
	err = ckpt_write_record(ctx, CKPT_REC_SHMEM, &rec, sizeof(rec));
	if (!err)
		err = ckpt_shmem_save_contents(ctx, inode, rec.size, objref);
	return err ?: objref;
}

/* --- restart --- */

int ckpt_shmem_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_shmem *rec = (struct ckpt_rec_shmem *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct file *file;
	int err;

	ctx->current_objref = rec->objref;
	if (m->shmem_rec.objref || m->mm_rec.objref || !m->has_group)
		return ckpt_err(ctx, -EINVAL, "shared memory begins within another object");
	if (rec->flags & ~CKPT_SHMEM_NORESERVE)
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
	if (!rec->size || rec->size > TASK_SIZE || !PAGE_ALIGNED(rec->size))
		return ckpt_err(ctx, -EINVAL, "size %#llx", rec->size);
	file = shmem_kernel_file_setup(SHMEM_NAME, rec->size,
				       rec->flags & CKPT_SHMEM_NORESERVE ? VM_NORESERVE : 0);
	if (IS_ERR(file))
		return ckpt_err(ctx, PTR_ERR(file), "%#llx bytes of shared memory", rec->size);
	err = ckpt_obj_add(ctx, rec->objref, file, CKPT_OBJ_SHMEM);
	if (!err)
		ckpt_shmem_begin(m, rec->objref, file_inode(file), rec->size);
	fput(file);
	return err;
}

int ckpt_shmem_check_size(struct ckpt_ctx *ctx, u64 size)
{
	if (size > MAX_LFS_FILESIZE)
		return ckpt_err(ctx, -EINVAL, "size %#llx", size);
	/* As ftruncate(2), but for the signal */
	if (rlimit(RLIMIT_FSIZE) != RLIM_INFINITY && size > rlimit(RLIMIT_FSIZE))
		return ckpt_err(ctx, -EFBIG, "size %#llx is above the caller's limit", size);
	return 0;
}

/* As the user namespace of the tree shows them */
int ckpt_shmem_get_owner(struct ckpt_ctx *ctx, const struct inode *inode, u32 *owner, u32 *group,
			 u32 *mode, const struct ckpt_holder *holder)
{
	*owner = from_kuid(ctx->user_ns, inode->i_uid);
	*group = from_kgid(ctx->user_ns, inode->i_gid);
	*mode = inode->i_mode & CKPT_SHMEM_MODE;
	if (*owner != (uid_t)-1 && *group != (gid_t)-1)
		return 0;
	return ckpt_err(ctx, holder->err, "%s: its owner has no id in the user namespace",
			holder->name);
}

/* As fchown(2) and fchmod(2) would, of a file that nobody has seen yet. */
int ckpt_shmem_set_owner(struct ckpt_ctx *ctx, struct inode *inode, u32 owner, u32 group, u32 mode)
{
	struct user_namespace *ns = current_user_ns();
	kuid_t uid = make_kuid(ns, owner);
	kgid_t gid = make_kgid(ns, group);

	if (!uid_valid(uid) || !gid_valid(gid) ||
	    !kuid_has_mapping(inode->i_sb->s_user_ns, uid) ||
	    !kgid_has_mapping(inode->i_sb->s_user_ns, gid))
		return ckpt_err(ctx, -EINVAL, "owner %u:%u", owner, group);
	if ((!uid_eq(uid, inode->i_uid) || !(gid_eq(gid, inode->i_gid) || in_group_p(gid))) &&
	    !ns_capable(ns, CAP_CHOWN))
		return ckpt_err(ctx, -EPERM, "the caller may not give it to %u:%u", owner, group);
	inode->i_uid = uid;
	inode->i_gid = gid;
	inode->i_mode = (inode->i_mode & S_IFMT) | mode;
	return 0;
}

/* The pages that come next are those of @inode, which the hash holds. */
void ckpt_shmem_begin(struct ckpt_member *m, int objref, struct inode *inode, u64 size)
{
	m->shmem_rec.objref = objref;
	m->shmem_rec.size = size;
	m->shmem_inode = inode;
	m->pages_end = 0;
}

/**
 * ckpt_shmem_fill - read a run of pages into the shared memory that is being read
 * @ctx: the context
 * @rec: the run, checked
 * @pages: room for its pages
 *
 * Return: 0 or a negative errno.
 */
int ckpt_shmem_fill(struct ckpt_ctx *ctx, const struct ckpt_rec_pages *rec, struct page **pages)
{
	struct inode *inode = ctx->member->shmem_inode;
	pgoff_t index = rec->start >> PAGE_SHIFT;
	u32 want = rec->nr_pages, nr = 0;
	int err = 0;

	for (; nr < want && !err; nr++, index++) {
		struct folio *folio;

		err = shmem_get_folio(inode, index, 0, &folio, SGP_CACHE);
		if (err) {
			ckpt_err(ctx, err, "page %#lx of shared memory cannot be made", index);
			break;
		}
		folio_unlock(folio);
		pages[nr] = folio_file_page(folio, index);
	}
	if (!err)
		err = ckpt_read_pages(ctx, pages, nr);
	while (nr--) {
		flush_dcache_page(pages[nr]);
		/* Also one that was on its way to swap meanwhile is written again. */
		set_page_dirty_lock(pages[nr]);
		put_page(pages[nr]);
	}
	return err;
}

int ckpt_shmem_end_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_shmem_end *rec = (struct ckpt_rec_shmem_end *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (!m->shmem_rec.objref || rec->objref != m->shmem_rec.objref || rec->pad)
		return ckpt_err(ctx, -EINVAL, "end of shared memory %d, %d was begun",
				rec->objref, m->shmem_rec.objref);
	m->shmem_rec.objref = 0;
	return IS_PRIVATE(m->shmem_inode) ? 0 : ckpt_memfd_end(ctx, m->shmem_inode);
}
