// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contents of memory.
 *
 * What is written of an address space are the pages that belong to it alone:
 * anonymous memory, and pages of files that were copied when they were written
 * to.  Anonymous pages that hold only zeros are holes.  Shared memory comes with
 * pages of its own, see shmem.c.
 *
 * The page table walk runs under the page table lock and only takes
 * references; a run of them is written with no lock held.  On restart a run is
 * pinned, broken out of its file where it must be, and read into.
 */
#include <linux/checkpoint.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>
#include <linux/slab.h>

#include <asm/cacheflush.h>

#include "internal.h"

/* One run of adjacent pages, as the walk finds it. */
struct run {
	struct page **pages;	/* counted references */
	unsigned int nr;
	unsigned long start;
	bool anon;		/* zero pages are holes */
	bool absent;		/* what comes next must be brought in first */
	unsigned long next;
};

static bool holds_only_zeros(struct page *page)
{
	void *addr = kmap_local_page(page);
	bool zero = !memchr_inv(addr, 0, PAGE_SIZE);

	kunmap_local(addr);
	return zero;
}

/* What is at @addr is elsewhere; 1 ends the walk, as in all that it calls: the run is complete. */
static int end_at_absent(struct run *run, unsigned long addr)
{
	run->next = addr;
	run->absent = !run->nr;
	return 1;
}

/* @page is at @addr, or nothing is. */
static int add_page(struct run *run, struct page *page, unsigned long addr)
{
	unsigned long next = addr + PAGE_SIZE;

	run->next = addr;
	if (!page || !(PageAnon(page) || is_zero_page(page)) ||
	    (run->anon && holds_only_zeros(page))) {
		run->next = next;
		return run->nr ? 1 : 0;
	}
	if (run->nr && run->start + ((unsigned long)run->nr << PAGE_SHIFT) != addr)
		return 1;
	if (!run->nr)
		run->start = addr;
	get_page(page);
	run->pages[run->nr++] = page;
	run->next = next;
	return run->nr == CKPT_RUN_PAGES;
}

static int walk_pte(pte_t *ptep, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	struct run *run = walk->private;
	pte_t pte = ptep_get(ptep);
	struct page *page = NULL;

	if (pte_present(pte)) {
		page = vm_normal_page(walk->vma, addr, pte);
		/* Zeros that were merged: they hide what the file has. */
		if (!run->anon && is_zero_pfn(pte_pfn(pte)))
			page = pte_page(pte);
	} else if (!pte_none(pte)) {
		return end_at_absent(run, addr);
	}
	return add_page(run, page, addr);
}

/* The pages of a huge one are taken as if they were small; it stays huge. */
static int walk_pmd(pmd_t *pmdp, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	spinlock_t *ptl = pmd_trans_huge_lock(pmdp, walk->vma);
	struct page *page;
	int ret = 0;

	if (!ptl)
		return 0;
	walk->action = ACTION_CONTINUE;
	if (!pmd_present(*pmdp)) {
		ret = end_at_absent(walk->private, addr);
	} else {
		page = vm_normal_page_pmd(walk->vma, addr, *pmdp);
		if (page)
			page += (addr & ~PMD_MASK) >> PAGE_SHIFT;
		for (; addr < next && !ret; addr += PAGE_SIZE)
			ret = add_page(walk->private, page ? page++ : NULL, addr);
	}
	spin_unlock(ptl);
	return ret;
}

static const struct mm_walk_ops walk_ops = {
	.pmd_entry	= walk_pmd,
	.pte_entry	= walk_pte,
	.walk_lock	= PGWALK_RDLOCK,
};

/**
 * ckpt_page_get - get a page of an address space
 * @ctx: the context
 * @mm: the address space
 * @addr: where the page is, whether it may be read or not
 *
 * Return: the page, with a reference, or an error.
 */
struct page *ckpt_page_get(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr)
{
	struct page *page;
	int locked = 1;
	long n;

	mmap_read_lock(mm);
	n = get_user_pages_remote(mm, addr, 1, FOLL_FORCE, &page, &locked);
	if (locked)
		mmap_read_unlock(mm);
	if (n == 1)
		return page;
	return ERR_PTR(ckpt_err(ctx, n < 0 ? n : -EFAULT, "page %#lx cannot be read", addr));
}

/* Swapped out, or on its way to another node: a fault brings it in. */
static int bring_in(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr)
{
	struct page *page = ckpt_page_get(ctx, mm, addr);

	if (IS_ERR(page))
		return PTR_ERR(page);
	put_page(page);
	return 0;
}

int ckpt_pages_write(struct ckpt_ctx *ctx, u64 start, struct page **pages, unsigned int nr)
{
	struct ckpt_rec_pages rec = {
		.start = start,
		.nr_pages = nr,
	};
	int err;

	err = ckpt_write_begin(ctx, CKPT_REC_PAGES, &rec, sizeof(rec),
			       sizeof(rec) + ((size_t)nr << PAGE_SHIFT));
	return err ?: ckpt_write_pages(ctx, pages, nr);
}

/* Find the next run at or behind @addr. */
static int find_run(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr,
		    unsigned long end, struct run *run)
{
	int ret;

	run->nr = 0;
	run->absent = false;
	run->next = end;
	if (mmap_read_lock_killable(mm))
		return ckpt_err(ctx, -EINTR, "a signal came");
	ret = walk_page_range(mm, addr, end, &walk_ops, run);
	mmap_read_unlock(mm);
	if (ret < 0)
		return ckpt_err(ctx, ret, "page tables from %#lx to %#lx", addr, end);
	if (!ret)
		run->next = end;
	return 0;
}

/**
 * ckpt_pages_save - write the contents of one mapping
 * @ctx: the context
 * @mm: its address space
 * @addr: its first address
 * @end: the address behind it
 * @kind: CKPT_VMA_ANON or CKPT_VMA_FILE
 *
 * Return: 0 or a negative errno.
 */
int ckpt_pages_save(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr,
		    unsigned long end, u32 kind)
{
	struct run run = { .anon = kind == CKPT_VMA_ANON };
	int err = 0;

	run.pages = kvcalloc(CKPT_RUN_PAGES, sizeof(*run.pages), GFP_KERNEL_ACCOUNT);
	if (!run.pages)
		return ckpt_nomem(ctx, "a run of pages");
	while (addr < end && !err) {
		err = find_run(ctx, mm, addr, end, &run);
		if (!err && run.nr)
			err = ckpt_pages_write(ctx, run.start, run.pages, run.nr);
		if (!err && run.absent)
			err = bring_in(ctx, mm, run.next);
		for (unsigned int i = 0; i < run.nr; i++)
			put_page(run.pages[i]);
		addr = run.next;
		if (fatal_signal_pending(current) && !err)
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	kvfree(run.pages);
	return err;
}

static int check_pages_record(struct ckpt_ctx *ctx, const struct ckpt_rec_pages *rec)
{
	const struct ckpt_member *m = ctx->member;
	const struct ckpt_rec_vma *vma = &m->vma_rec;
	u64 bytes = (u64)rec->nr_pages << PAGE_SHIFT;
	u64 start = vma->start, end = vma->end;

	if (m->shmem_rec.objref) {
		start = 0;
		end = m->shmem_rec.size;
	} else if (!m->mm_vmas || m->own_mm || vma->flags & CKPT_VMA_SHARED ||
		   (vma->kind != CKPT_VMA_ANON && vma->kind != CKPT_VMA_FILE)) {
		return ckpt_err(ctx, -EINVAL, "pages outside of a mapping that has any");
	}
	if (!rec->nr_pages || rec->pad || rec->h.len != sizeof(*rec) + bytes)
		return ckpt_err(ctx, -EINVAL, "%u pages in %u bytes", rec->nr_pages, rec->h.len);
	if (!PAGE_ALIGNED(rec->start) || rec->start < start || rec->start >= end ||
	    bytes > end - rec->start)
		return ckpt_err(ctx, -EINVAL, "%u pages at %#llx, the mapping is %#llx-%#llx",
				rec->nr_pages, rec->start, start, end);
	if (rec->start < m->pages_end)
		return ckpt_err(ctx, -EINVAL, "pages at %#llx, the last run ended at %#llx",
				rec->start, m->pages_end);
	return 0;
}

/* What was written through the kernel's mapping is code to the task. */
static void sync_code(struct page **pages, long nr)
{
	for (long i = 0; i < nr; i++) {
		void *addr = kmap_local_page(pages[i]);

		flush_icache_range((unsigned long)addr, (unsigned long)addr + PAGE_SIZE);
		kunmap_local(addr);
	}
}

/* Fill a run of the address space. */
static int fill_run(struct ckpt_ctx *ctx, const struct ckpt_rec_pages *rec, struct page **pages)
{
	bool code = ctx->member->vma_rec.flags & CKPT_VMA_EXEC;
	unsigned long addr = rec->start;
	struct mm_struct *mm = current->mm;
	unsigned int left = rec->nr_pages;
	int err = 0;

	while (left && !err) {
		int locked = 1;
		long n;

		mmap_read_lock(mm);
		n = pin_user_pages_remote(mm, addr, left, FOLL_WRITE | FOLL_FORCE, pages, &locked);
		if (locked)
			mmap_read_unlock(mm);
		if (n <= 0) {
			err = ckpt_err(ctx, n ? n : -EFAULT, "page %#lx cannot be filled", addr);
			break;
		}
		err = ckpt_read_pages(ctx, pages, n);
		for (long i = 0; i < n; i++)
			flush_dcache_page(pages[i]);
		if (code)
			sync_code(pages, n);
		unpin_user_pages_dirty_lock(pages, n, true);
		addr += n << PAGE_SHIFT;
		left -= n;
	}
	return err;
}

int ckpt_pages_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_pages *rec = (struct ckpt_rec_pages *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct page **pages;
	int err;

	err = check_pages_record(ctx, rec);
	if (err)
		return err;
	pages = kvcalloc(rec->nr_pages, sizeof(*pages), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return ckpt_nomem(ctx, "a run of pages");
	err = m->shmem_rec.objref ? ckpt_shmem_fill(ctx, rec, pages) : fill_run(ctx, rec, pages);
	kvfree(pages);
	m->pages_end = rec->start + ((u64)rec->nr_pages << PAGE_SHIFT);
	return err;
}
