// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces: layout, mappings, vdso.
 *
 * On checkpoint the mappings are copied into an array under mmap_lock; the
 * lock is never held while the image is written.  The tasks are frozen, so
 * what was copied stays true.
 *
 * On restart the first task of an address space keeps its struct mm_struct:
 * everything in it is unmapped, the vdso is mapped first, and each mapping where
 * the image has it.  Mappings are not trusted to be what was asked for: flags
 * and place are compared afterwards.  Processes that share it, too, change to
 * it when their turn has come.  The offset of anonymous memory is left out: it
 * only matters to pages that are there already, and there are none.
 *
 * What is shared with a file is the file's: it is written back, and mapped
 * again.
 */
#include <linux/aio.h>
#include <linux/auxvec.h>
#include <linux/binfmts.h>
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_context.h>
#include <linux/pagemap.h>
#include <linux/pkeys.h>
#include <linux/ptrace.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>
#include <linux/user_namespace.h>

#include "internal.h"

/* One mapping, copied under mmap_lock; file and name are counted references. */
struct vma_copy {
	unsigned long start, end, pgoff;
	vm_flags_t flags;
	u32 kind;
	int objref;
	u32 pkey;
	struct file *file;
	struct anon_vma_name *name;
};

void ckpt_mm_grab(void *obj)
{
	mmget(obj);
}

void ckpt_mm_drop(void *obj)
{
	mmput(obj);
}

int ckpt_mm_users(void *obj)
{
	struct mm_struct *mm = obj;

	return atomic_read(&mm->mm_users) - 1;
}

/* Without 64 bits there is no room for it. */
#ifdef VM_SEALED
#define CKPT_SEALED	VM_SEALED
#else
#define CKPT_SEALED	VM_NONE
#endif

/* Where there are no protection keys, or whoever uses them is refused */
u32 __weak ckpt_arch_pkeys(struct mm_struct *mm, u32 *execute_only)
{
	*execute_only = 0;
	return 0;
}

int __weak ckpt_arch_set_pkeys(struct mm_struct *mm, u32 keys, u32 execute_only)
{
	return keys ? -EINVAL : 0;
}

u32 __weak ckpt_arch_nr_pkeys(void)
{
	return 1;
}

void __weak ckpt_arch_hold_pkeys(struct mm_struct *mm)
{
}

/* Where there are no local descriptor tables */
int __weak ckpt_arch_ldt_save(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	return 0;
}

int __weak ckpt_arch_ldt_restore(struct ckpt_ctx *ctx, const struct ckpt_rec_ldt *rec)
{
	return ckpt_err(ctx, -EINVAL, "this kernel has no local descriptor tables");
}

static const struct {
	vm_flags_t vm;
	u32 image;
} vma_flags[] = {
	{ VM_READ,		CKPT_VMA_READ },
	{ VM_WRITE,		CKPT_VMA_WRITE },
	{ VM_EXEC,		CKPT_VMA_EXEC },
	{ VM_MAYREAD,		CKPT_VMA_MAYREAD },
	{ VM_MAYWRITE,		CKPT_VMA_MAYWRITE },
	{ VM_MAYEXEC,		CKPT_VMA_MAYEXEC },
	{ VM_GROWSDOWN,		CKPT_VMA_GROWSDOWN },
	{ VM_NORESERVE,		CKPT_VMA_NORESERVE },
	{ VM_ACCOUNT,		CKPT_VMA_ACCOUNT },
	{ VM_NOHUGEPAGE,	CKPT_VMA_STACK },
	/* Of a file that is open for reading only, VM_SHARED is not set. */
	{ VM_SHARED | VM_MAYSHARE, CKPT_VMA_SHARED },
	{ VM_DONTCOPY,		CKPT_VMA_DONTFORK },
	{ VM_WIPEONFORK,	CKPT_VMA_WIPEONFORK },
	{ VM_DONTDUMP,		CKPT_VMA_DONTDUMP },
	{ VM_SEQ_READ,		CKPT_VMA_SEQUENTIAL },
	{ VM_RAND_READ,		CKPT_VMA_RANDOM },
	{ VM_HUGEPAGE,		CKPT_VMA_HUGEPAGE },
	{ VM_LOCKED,		CKPT_VMA_LOCKED },
	{ VM_LOCKONFAULT,	CKPT_VMA_LOCKONFAULT },
	{ CKPT_SEALED,		CKPT_VMA_SEALED },
	{ VM_MERGEABLE,		CKPT_VMA_MERGEABLE },
};

/* Those among them that mmap(2) has no flag for. */
#define ADVICE_FLAGS	(VM_DONTCOPY | VM_WIPEONFORK | VM_DONTDUMP | VM_SEQ_READ | VM_RAND_READ | \
			 VM_HUGEPAGE | VM_LOCKED | VM_LOCKONFAULT | CKPT_SEALED | VM_MERGEABLE)

/* What has a name of its own in a refusal */
static const struct {
	vm_flags_t vm;
	const char *name;
} refused_flags[] = {
	{ VM_HUGETLB,			"huge pages" },
	{ VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR, "userfaultfd memory" },
	{ VM_PFNMAP | VM_IO | VM_MIXEDMAP, "device memory" },
};

static u32 flags_to_image(vm_flags_t flags)
{
	u32 image = 0;

	for (int i = 0; i < ARRAY_SIZE(vma_flags); i++)
		if (flags & vma_flags[i].vm)
			image |= vma_flags[i].image;
	return image;
}

/* The flags of @mask that @image stands for. */
static vm_flags_t flags_from_image(u32 image, vm_flags_t mask)
{
	vm_flags_t flags = 0;

	for (int i = 0; i < ARRAY_SIZE(vma_flags); i++)
		if (image & vma_flags[i].image)
			flags |= vma_flags[i].vm & mask;
	return flags;
}

/* Those among @flags that no image has; protection keys are not among the image's flags. */
static vm_flags_t unknown_flags(vm_flags_t flags)
{
	vm_flags_t known = VM_SOFTDIRTY | ARCH_VM_PKEY_FLAGS;

	for (int i = 0; i < ARRAY_SIZE(vma_flags); i++)
		known |= vma_flags[i].vm;
	return flags & ~known;
}

/* What the kernel maps */
static bool is_special(u32 kind)
{
	return kind == CKPT_VMA_VDSO || kind == CKPT_VMA_VVAR;
}

/* What a mapping with one of these flags is, NULL if it is none of those with a name. */
static const char *refused_name(vm_flags_t flags)
{
	for (int i = 0; i < ARRAY_SIZE(refused_flags); i++)
		if (flags & refused_flags[i].vm)
			return refused_flags[i].name;
	return NULL;
}

static int refuse_vma(struct ckpt_ctx *ctx, const struct vma_copy *v, const char *what)
{
	return ckpt_err(ctx, -EBUSY, "mapping %#lx-%#lx: %s is not supported",
			v->start, v->end, what);
}

static int check_vma(struct ckpt_ctx *ctx, const struct vma_copy *v)
{
	const char *name = refused_name(v->flags);

	if (is_special(v->kind) && v->flags & CKPT_SEALED)
		return refuse_vma(ctx, v, "a sealed vdso");
	if (is_special(v->kind) && v->pkey)
		return refuse_vma(ctx, v, "a vdso with a protection key");
	if (is_special(v->kind) && v->name)
		return refuse_vma(ctx, v, "a vdso with a name");
	if (is_special(v->kind))
		return 0;
	if (name)
		return refuse_vma(ctx, v, name);
	if (!v->kind)
		return refuse_vma(ctx, v, "a special mapping");
	if (unknown_flags(v->flags))
		return ckpt_err(ctx, -EBUSY, "mapping %#lx-%#lx: flags %#llx are not supported",
				v->start, v->end, (u64)unknown_flags(v->flags));
	if (v->name && !*v->name->name)
		return refuse_vma(ctx, v, "a mapping with an empty name");
	if (v->file && v->file->f_mode & FMODE_BACKING)
		return refuse_vma(ctx, v, "a file of a stacked file system");
	return 0;
}

static u32 vma_kind(struct vm_area_struct *vma)
{
	u32 kind = ckpt_arch_vma_kind(vma);

	if (kind)
		return kind;
	if (vma_is_special_mapping(vma, NULL))
		return 0;
	if (vma->vm_file && vma->vm_flags & VM_MAYSHARE && ckpt_is_shmem(vma->vm_file))
		return CKPT_VMA_SHMEM;
	if (vma->vm_file)
		return CKPT_VMA_FILE;
	return vma_is_anonymous(vma) ? CKPT_VMA_ANON : 0;
}

static void free_copies(struct vma_copy *copies, u32 nr)
{
	for (u32 i = 0; copies && i < nr; i++) {
		if (copies[i].file)
			fput(copies[i].file);
		anon_vma_name_put(copies[i].name);
	}
	kvfree(copies);
}

/* Copy all mappings; refusals are reported once the lock is gone. */
static int copy_vmas(struct ckpt_ctx *ctx, struct mm_struct *mm, struct vma_copy **out, u32 *nr)
{
	struct vm_area_struct *vma;
	const char *odd = NULL;
	struct vma_copy *v;
	u32 i = 0;

	VMA_ITERATOR(vmi, mm, 0);

	*nr = READ_ONCE(mm->map_count);
	*out = kvcalloc(*nr ?: 1, sizeof(**out), GFP_KERNEL_ACCOUNT);
	if (!*out)
		return ckpt_nomem(ctx, "%u mappings", *nr);
	if (mmap_read_lock_killable(mm))
		return ckpt_err(ctx, -EINTR, "a signal came");
	for_each_vma(vmi, vma) {
		if (i == *nr) {
			odd = "the mappings have changed";
			break;
		}
		v = &(*out)[i++];
		v->start = vma->vm_start;
		v->end = vma->vm_end;
		v->pgoff = vma->vm_pgoff;
		v->flags = vma->vm_flags;
		v->kind = vma_kind(vma);
		v->file = vma->vm_file ? get_file(vma->vm_file) : NULL;
		v->pkey = vma_pkey(vma);
		v->name = anon_vma_name(vma);
		anon_vma_name_get(v->name);
		if (ckpt_vma_has_policy(vma))
			odd = "a mapping has a memory policy";
	}
	mmap_read_unlock(mm);
	if (odd || i != *nr)
		return ckpt_err(ctx, -EBUSY, "%s", odd ?: "the mappings have changed");
	for (i = 0; i < *nr; i++) {
		int err = check_vma(ctx, &(*out)[i]);

		if (err)
			return err;
	}
	return 0;
}

static int check_mm(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	if (mm->def_flags & ~(VM_LOCKED | VM_LOCKONFAULT))
		return ckpt_err(ctx, -EBUSY, "flags %#llx of new mappings are not supported",
				(u64)mm->def_flags);
	/* Restarted it belongs to that of the tasks, where others may look at it. */
	if (mm->user_ns != ctx->user_ns)
		return ckpt_err(ctx, -EBUSY, "its memory belongs to another user namespace");
	if (!test_bit(MMF_TOPDOWN, &mm->flags))
		return ckpt_err(ctx, -EBUSY, "the address space has the legacy layout");
	if (test_bit(MMF_HAS_UPROBES, &mm->flags))
		return ckpt_err(ctx, -EBUSY, "uprobes are set");
	if (ckpt_mm_has_aio(mm))
		return ckpt_err(ctx, -EBUSY, "asynchronous I/O contexts exist");
	return ckpt_arch_check_mm(ctx, mm);
}

/* The code that the vdso at @start has: a restart needs the same. */
static int hash_vdso(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long start,
		     unsigned long end, u64 *hash)
{
	struct xxh64_state state;

	xxh64_reset(&state, 0);
	for (; start < end; start += PAGE_SIZE) {
		struct page *page = ckpt_page_get(ctx, mm, start);
		void *addr;

		if (IS_ERR(page))
			return PTR_ERR(page);
		addr = kmap_local_page(page);
		xxh64_update(&state, addr, PAGE_SIZE);
		kunmap_local(addr);
		put_page(page);
	}
	*hash = xxh64_digest(&state);
	return 0;
}

static int describe_vdso(struct ckpt_ctx *ctx, struct mm_struct *mm, struct ckpt_rec_mm *rec,
			 const struct vma_copy *copies, u32 nr)
{
	int err;

	for (u32 i = 0; i < nr; i++) {
		const struct vma_copy *v = &copies[i];

		if (!is_special(v->kind))
			continue;
		if (!rec->vdso_start)
			rec->vdso_start = v->start;
		rec->vdso_len = v->end - rec->vdso_start;
		if (v->kind != CKPT_VMA_VDSO)
			continue;
		err = hash_vdso(ctx, mm, v->start, v->end, &rec->vdso_hash);
		if (err)
			return err;
	}
	return 0;
}

static const struct {
	int bit;
	u32 image;
} mm_flags[] = {
	{ MMF_DISABLE_THP,		CKPT_MM_THP_DISABLED },
	{ MMF_HAS_MDWE,			CKPT_MM_MDWE },
	{ MMF_HAS_MDWE_NO_INHERIT,	CKPT_MM_MDWE_NO_INHERIT },
	{ MMF_VM_MERGE_ANY,		CKPT_MM_MERGE_ANY },
};

static void describe_flags(struct mm_struct *mm, struct ckpt_rec_mm *rec)
{
	for (int i = 0; i < ARRAY_SIZE(mm_flags); i++)
		if (test_bit(mm_flags[i].bit, &mm->flags))
			rec->flags |= mm_flags[i].image;
	if (mm->def_flags & VM_LOCKED)
		rec->flags |= CKPT_MM_LOCK_FUTURE;
	if (mm->def_flags & VM_LOCKONFAULT)
		rec->flags |= CKPT_MM_LOCK_ON_FAULT;
	rec->membarrier = membarrier_registrations(mm);
	rec->pkeys = ckpt_arch_pkeys(mm, &rec->execute_only_pkey);
	rec->dump_filter = (READ_ONCE(mm->flags) & MMF_DUMP_FILTER_MASK) >> MMF_DUMP_FILTER_SHIFT;
}

static void describe_layout(struct mm_struct *mm, struct ckpt_rec_mm *rec)
{
	guard(spinlock)(&mm->arg_lock);
	rec->start_code = mm->start_code;
	rec->end_code = mm->end_code;
	rec->start_data = mm->start_data;
	rec->end_data = mm->end_data;
	rec->start_brk = mm->start_brk;
	rec->brk = mm->brk;
	rec->start_stack = mm->start_stack;
	rec->arg_start = mm->arg_start;
	rec->arg_end = mm->arg_end;
	rec->env_start = mm->env_start;
	rec->env_end = mm->env_end;
	rec->mmap_base = mm->mmap_base;
	rec->dumpable = get_dumpable(mm);
}

/* What was written to a shared mapping is in the file when the image is complete. */
static int write_back(struct ckpt_ctx *ctx, const struct vma_copy *v)
{
	struct address_space *mapping = v->file->f_mapping;
	loff_t first = (loff_t)v->pgoff << PAGE_SHIFT;
	loff_t last = first + (v->end - v->start) - 1;
	int err;

	if (!(v->flags & VM_SHARED))
		return 0;
	err = filemap_fdatawrite_range(mapping, first, last);
	/* Errors stay for the task to see. */
	if (!err)
		err = filemap_fdatawait_range_keep_errors(mapping, first, last);
	if (err)
		return ckpt_err(ctx, err, "mapping %#lx-%#lx: %pD cannot be written back",
				v->start, v->end, v->file);
	return 0;
}

/* Files that are mapped, and the one that runs: they come before the MM record. */
static int save_files(struct ckpt_ctx *ctx, struct mm_struct *mm, struct vma_copy *copies,
		      u32 nr, int *exe)
{
	static const struct ckpt_holder exe_holder = { "/proc/PID/exe", -EBUSY };
	char name[48];
	struct ckpt_holder holder = { .name = name, .err = -EBUSY };
	struct file *file;
	int err;

	for (u32 i = 0; i < nr; i++) {
		if (copies[i].kind == CKPT_VMA_SHMEM) {
			copies[i].objref = ckpt_shmem_save(ctx, copies[i].file);
			if (copies[i].objref < 0)
				return copies[i].objref;
		}
		if (copies[i].kind != CKPT_VMA_FILE)
			continue;
		snprintf(name, sizeof(name), "mapping %#lx-%#lx", copies[i].start, copies[i].end);
		copies[i].objref = ckpt_file_save(ctx, copies[i].file, &holder);
		if (copies[i].objref < 0)
			return copies[i].objref;
		err = write_back(ctx, &copies[i]);
		if (err)
			return err;
	}
	*exe = 0;
	file = get_mm_exe_file(mm);
	if (!file)
		return 0;
	*exe = ckpt_file_save(ctx, file, &exe_holder);
	fput(file);
	return min(*exe, 0);
}

static int save_vmas(struct ckpt_ctx *ctx, struct mm_struct *mm, const struct vma_copy *copies,
		     u32 nr)
{
	for (u32 i = 0; i < nr; i++) {
		const struct vma_copy *v = &copies[i];
		bool special = is_special(v->kind);
		struct ckpt_rec_vma rec = {
			.kind = v->kind,
			.flags = special ? 0 : flags_to_image(v->flags),
			.start = v->start,
			.end = v->end,
			.pgoff = v->objref ? v->pgoff : 0,
			.file = v->objref,
			.pkey = v->pkey,
		};
		int err;

		if (v->name)
			strscpy_pad(rec.name, v->name->name);
		err = ckpt_write_record(ctx, CKPT_REC_VMA, &rec, sizeof(rec));
		if (!err && !special && !(rec.flags & CKPT_VMA_SHARED))
			err = ckpt_pages_save(ctx, mm, v->start, v->end, v->kind);
		if (err)
			return err;
	}
	return 0;
}

static int save_mm(struct ckpt_ctx *ctx, struct mm_struct *mm, int objref,
		   struct vma_copy *copies, u32 nr)
{
	struct ckpt_rec_mm_end end = { .objref = objref };
	struct ckpt_rec_mm *rec __free(kfree) = NULL;
	u32 nr_auxv = ARRAY_SIZE(mm->saved_auxv);
	int exe, err;

	err = save_files(ctx, mm, copies, nr, &exe);
	if (err)
		return err;
	ctx->current_objref = objref;
	rec = kzalloc(struct_size(rec, auxv, nr_auxv), GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	rec->exe = exe;
	rec->nr_vmas = nr;
	rec->nr_auxv = nr_auxv;
	describe_layout(mm, rec);
	describe_flags(mm, rec);
	for (u32 i = 0; i < nr_auxv; i++)
		rec->auxv[i] = mm->saved_auxv[i];
	err = describe_vdso(ctx, mm, rec, copies, nr);
	if (!err)
		err = ckpt_write_record(ctx, CKPT_REC_MM, rec, struct_size(rec, auxv, nr_auxv));
	if (!err)
		err = save_vmas(ctx, mm, copies, nr);
	if (!err)
		err = ckpt_arch_ldt_save(ctx, mm);
	return err ?: ckpt_write_record(ctx, CKPT_REC_MM_END, &end, sizeof(end));
}

int ckpt_mm_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	/* Thawed meanwhile, it may have become a program that the caller may not trace. */
	struct mm_struct *mm = mm_access(task, PTRACE_MODE_ATTACH_REALCREDS);
	struct vma_copy *copies = NULL;
	bool first;
	int objref, err;
	u32 nr = 0;

	if (mm == ERR_PTR(-EACCES))
		return ckpt_err(ctx, -EPERM, "the caller may not trace it");
	if (IS_ERR_OR_NULL(mm))
		return ckpt_err(ctx, -EBUSY, "has no memory, it exits");
	objref = ckpt_obj_ref(ctx, mm, CKPT_OBJ_MM, &first);
	err = min(objref, 0);
	if (!err && first) {
		err = check_mm(ctx, mm);
		if (!err)
			err = copy_vmas(ctx, mm, &copies, &nr);
		if (!err)
			err = save_mm(ctx, mm, objref, copies, nr);
		free_copies(copies, nr);
	}
	mmput(mm);
	return err ?: objref;
}

/* --- restart --- */

static int check_range(struct ckpt_ctx *ctx, const char *what, u64 start, u64 end)
{
	if (start > end || end > TASK_SIZE)
		return ckpt_err(ctx, -EINVAL, "%s from %#llx to %#llx", what, start, end);
	return 0;
}

/* It cannot be taken back, and would hold for what is mapped here. */
static int check_mdwe(struct ckpt_ctx *ctx)
{
	if (!test_bit(MMF_HAS_MDWE, &current->mm->flags))
		return 0;
	return ckpt_err(ctx, -EPERM, "PR_SET_MDWE is in force for the caller");
}

static bool are_pkeys(const struct ckpt_rec_mm *rec)
{
	const u32 nr = ckpt_arch_nr_pkeys(), only = rec->execute_only_pkey;

	/* Key 0 is not among them. */
	if (rec->pkeys & ~(u32)GENMASK(nr - 1, 0) || rec->pkeys & 1)
		return false;
	return !only || (only < nr && rec->pkeys & BIT(only));
}

static int check_mm_record(struct ckpt_ctx *ctx, const struct ckpt_rec_mm *rec)
{
	int err;

	if (rec->flags & ~CKPT_MM_ALL ||
	    (rec->flags & CKPT_MM_LOCK_ON_FAULT && !(rec->flags & CKPT_MM_LOCK_FUTURE)) ||
	    (rec->flags & CKPT_MM_MDWE_NO_INHERIT && !(rec->flags & CKPT_MM_MDWE)))
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
	if (!are_pkeys(rec))
		return ckpt_err(ctx, -EINVAL, "protection keys %#x, %u for execution only",
				rec->pkeys, rec->execute_only_pkey);
	if (rec->dump_filter & ~(u32)(MMF_DUMP_FILTER_MASK >> MMF_DUMP_FILTER_SHIFT))
		return ckpt_err(ctx, -EINVAL, "core dump filter %#x", rec->dump_filter);
	err = check_mdwe(ctx);
	if (err)
		return err;
	if (rec->nr_auxv > ARRAY_SIZE(current->mm->saved_auxv) ||
	    struct_size(rec, auxv, rec->nr_auxv) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u auxv words in %u bytes",
				rec->nr_auxv, rec->h.len);
	for (u32 i = 0; i < rec->nr_auxv; i++)
		if ((unsigned long)rec->auxv[i] != rec->auxv[i])
			return ckpt_err(ctx, -EINVAL, "auxv word %u is %#llx", i, rec->auxv[i]);
	if (rec->nr_auxv < 2 || rec->auxv[rec->nr_auxv - 2] != AT_NULL)
		return ckpt_err(ctx, -EINVAL, "auxv does not end");
	if (rec->nr_vmas > sysctl_max_map_count)
		return ckpt_err(ctx, -EINVAL, "%u mappings", rec->nr_vmas);
	if (rec->dumpable > SUID_DUMP_ROOT)
		return ckpt_err(ctx, -EINVAL, "dumpable is %u", rec->dumpable);
	/* Root would write what its owner chose to where its owner may not. */
	if (rec->dumpable == SUID_DUMP_ROOT && suid_dumpable != SUID_DUMP_ROOT &&
	    !capable(CAP_SYS_ADMIN))
		return ckpt_err(ctx, -EPERM, "fs.suid_dumpable does not have root dump it");
	err = check_range(ctx, "code", rec->start_code, rec->end_code);
	if (!err)
		err = check_range(ctx, "data", rec->start_data, rec->end_data);
	if (!err)
		err = check_range(ctx, "heap", rec->start_brk, rec->brk);
	if (!err)
		err = check_range(ctx, "arguments", rec->arg_start, rec->arg_end);
	if (!err)
		err = check_range(ctx, "environment", rec->env_start, rec->env_end);
	if (!err)
		err = check_range(ctx, "stack", rec->start_stack, TASK_SIZE);
	if (!err)
		err = check_range(ctx, "mmap base", rec->mmap_base, TASK_SIZE);
	if (!err && !PAGE_ALIGNED(rec->mmap_base))
		err = ckpt_err(ctx, -EINVAL, "mmap base %#llx", rec->mmap_base);
	if (!err)
		err = check_range(ctx, "vdso", rec->vdso_start, rec->vdso_start + rec->vdso_len);
	if (!err && (!PAGE_ALIGNED(rec->vdso_start) || !PAGE_ALIGNED(rec->vdso_len) ||
		     !rec->vdso_start != !rec->vdso_len || (!rec->vdso_len && rec->vdso_hash)))
		err = ckpt_err(ctx, -EINVAL, "vdso at %#llx, %#llx bytes",
			       rec->vdso_start, rec->vdso_len);
	return err;
}

/*
 * Whose privileges it takes to look at memory that is not to be dumped.  Others
 * may use the old namespace without a reference: it is one above, and stays.
 */
static void set_owner(struct mm_struct *mm)
{
	struct user_namespace *old = mm->user_ns;

	if (old == current_user_ns() || !in_userns(old, current_user_ns()))
		return;
	WRITE_ONCE(mm->user_ns, get_user_ns(current_user_ns()));
	put_user_ns(old);
}

/* Nothing of the tool stays; what execve(2) would reset is reset. */
static int empty_mm(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	int err;

	/* Whoever looks at it by /proc holds a reference for a moment. */
	for (int tries = 0; atomic_read(&mm->mm_users) != ckpt_group_size(ctx); tries++) {
		if (tries == CKPT_LOOKS)
			return ckpt_err(ctx, -EBUSY, "the restarting task shares its memory");
		usleep_range(200, 1000);
	}
	err = vm_munmap(0, TASK_SIZE);
	if (err)
		return ckpt_err(ctx, err, "the restarting task's memory cannot be unmapped");
	reset_mm_hiwater_rss(mm);
	mm->hiwater_vm = mm->total_vm;
	mm->def_flags = 0;
	set_owner(mm);
	membarrier_exec_mmap(mm);
	/* It would hold for what is mapped here. */
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	set_bit(MMF_TOPDOWN, &mm->flags);
	/* What may only be executed would get a key of its own: none is left until all is mapped. */
	ckpt_arch_hold_pkeys(mm);
	ckpt_arch_mm_reset(mm);
	return 0;
}

static int set_exe(struct ckpt_ctx *ctx, struct mm_struct *mm, int objref)
{
	struct file *file;
	int err;

	if (!objref)
		return 0;
	file = ckpt_obj_get(ctx, objref, CKPT_OBJ_FILE);
	if (IS_ERR(file))
		return PTR_ERR(file);
	/* As PR_SET_MM_MAP asks for */
	if (!checkpoint_restore_ns_capable(current_user_ns()))
		return ckpt_err(ctx, -EPERM, "the caller may not set the program that runs");
	if (!S_ISREG(file_inode(file)->i_mode) || path_noexec(&file->f_path))
		return ckpt_err(ctx, -EACCES, "%pD cannot be the program that runs", file);
	err = file_permission(file, MAY_EXEC);
	if (!err)
		err = replace_mm_exe_file(mm, file);
	return err ? ckpt_err(ctx, err, "%pD cannot be the program that runs", file) : 0;
}

int ckpt_mm_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_mm *rec = (struct ckpt_rec_mm *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct mm_struct *mm = current->mm;
	int err;

	ctx->current_objref = rec->objref;
	if (m->shmem_rec.objref)
		return ckpt_err(ctx, -EINVAL, "shared memory %d has not ended", m->shmem_rec.objref);
	if (m->own_mm || m->mm_rec.objref || !m->has_group)
		return ckpt_err(ctx, -EINVAL, "a second address space for one process");
	err = check_mm_record(ctx, rec);
	if (!err)
		err = empty_mm(ctx, mm);
	if (!err)
		err = set_exe(ctx, mm, rec->exe);
	if (!err && rec->vdso_start) {
		err = ckpt_arch_map_vdso(rec->vdso_start);
		if (err)
			ckpt_err(ctx, err, "the vdso cannot be mapped at %#llx", rec->vdso_start);
	}
	if (err)
		return err;
	for (u32 i = 0; i < rec->nr_auxv; i++)
		mm->saved_auxv[i] = rec->auxv[i];
	for (u32 i = rec->nr_auxv; i < ARRAY_SIZE(mm->saved_auxv); i++)
		mm->saved_auxv[i] = 0;
	m->mm_rec = *rec;
	m->mm_vmas = 0;
	m->have_ldt = false;
	return ckpt_obj_add(ctx, rec->objref, mm, CKPT_OBJ_MM);
}

/* Flags that a mapping of this kind cannot have */
static u32 wrong_flags(const struct ckpt_rec_vma *rec)
{
	if (is_special(rec->kind))
		return ~0;
	if (rec->kind == CKPT_VMA_ANON)
		return CKPT_VMA_SHARED;
	return CKPT_VMA_GROWSDOWN | CKPT_VMA_WIPEONFORK |
	       (rec->flags & CKPT_VMA_SHARED ? CKPT_VMA_ACCOUNT | CKPT_VMA_MERGEABLE : 0);
}

/* As PR_SET_VMA_ANON_NAME takes it, which is for the eyes of others. */
static bool is_name(const char name[CKPT_VMA_NAME_LEN])
{
	if (!ckpt_is_text(name, CKPT_VMA_NAME_LEN))
		return false;
	for (; *name; name++)
		if (*name < ' ' || *name > '~' || strchr("\\`$[]", *name))
			return false;
	return true;
}

static int check_vma_record(struct ckpt_ctx *ctx, const struct ckpt_rec_vma *rec)
{
	const u32 prot = CKPT_VMA_READ | CKPT_VMA_WRITE | CKPT_VMA_EXEC;
	bool is_file = rec->kind == CKPT_VMA_FILE || rec->kind == CKPT_VMA_SHMEM;
	struct ckpt_member *m = ctx->member;
	u32 all = 0;

	for (int i = 0; i < ARRAY_SIZE(vma_flags); i++)
		all |= vma_flags[i].image;
	if (!m->mm_rec.objref || m->own_mm)
		return ckpt_err(ctx, -EINVAL, "a mapping outside of an address space");
	if (m->mm_vmas >= m->mm_rec.nr_vmas)
		return ckpt_err(ctx, -EINVAL, "more mappings than the %u announced",
				m->mm_rec.nr_vmas);
	if (rec->start < m->vma_rec.end || rec->start >= rec->end || rec->end > TASK_SIZE ||
	    !PAGE_ALIGNED(rec->start) || !PAGE_ALIGNED(rec->end))
		return ckpt_err(ctx, -EINVAL, "mapping %#llx-%#llx, the last ended at %#llx",
				rec->start, rec->end, m->vma_rec.end);
	if (rec->kind < CKPT_VMA_ANON || rec->kind > CKPT_VMA_SHMEM || !!rec->file != is_file)
		return ckpt_err(ctx, -EINVAL, "kind %u with file %d", rec->kind, rec->file);
	if (rec->pkey >= (is_special(rec->kind) ? 1 : ckpt_arch_nr_pkeys()))
		return ckpt_err(ctx, -EINVAL, "protection key %u", rec->pkey);
	if (!is_name(rec->name) || (*rec->name && is_special(rec->kind)))
		return ckpt_err(ctx, -EINVAL, "a name that it cannot have");
	/* What is allowed now must be among what may be allowed. */
	if (rec->flags & ~all || (rec->flags & prot & ~(rec->flags >> 3)) ||
	    rec->flags & wrong_flags(rec) ||
	    (rec->kind == CKPT_VMA_SHMEM && !(rec->flags & CKPT_VMA_SHARED)) ||
	    (rec->flags & CKPT_VMA_LOCKONFAULT && !(rec->flags & CKPT_VMA_LOCKED)))
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
	if (rec->pgoff > (is_file ? (u64)MAX_LFS_FILESIZE >> PAGE_SHIFT : 0))
		return ckpt_err(ctx, -EINVAL, "offset of %llu pages", rec->pgoff);
	return 0;
}

/* Read-only memory that was writable once is accounted for; mapping it does not. */
static long account_pages(const struct ckpt_rec_vma *rec)
{
	if (!(rec->flags & CKPT_VMA_ACCOUNT) || rec->flags & CKPT_VMA_WRITE)
		return 0;
	return (rec->end - rec->start) >> PAGE_SHIFT;
}

/*
 * The address space is among those that are searched for equal pages.  Who
 * searches drops those that have none to merge, under mmap_lock: it is held
 * until there are some.
 */
static int let_merge(struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);
#ifdef CONFIG_KSM
	return test_bit(MMF_VM_MERGEABLE, &mm->flags) ? 0 : __ksm_enter(mm);
#else
	return -EINVAL;
#endif
}

static int name_vma(const struct ckpt_rec_vma *rec)
{
	struct anon_vma_name *name;
	int err;

	if (!*rec->name)
		return 0;
	if (!IS_ENABLED(CONFIG_ANON_VMA_NAME))
		return -EINVAL;
	name = anon_vma_name_alloc(rec->name);
	if (!name)
		return -ENOMEM;
	err = -EINTR;
	if (!mmap_write_lock_killable(current->mm)) {
		err = madvise_set_anon_name(current->mm, rec->start, rec->end - rec->start, name);
		mmap_write_unlock(current->mm);
	}
	anon_vma_name_put(name);
	return err;
}

static int map_vma(struct ckpt_ctx *ctx, const struct ckpt_rec_vma *rec, struct file *file)
{
	unsigned long prot = 0, flags = MAP_FIXED_NOREPLACE, populate = 0, addr;
	vm_flags_t vm_flags = flags_from_image(rec->flags, ADVICE_FLAGS) |
			      calc_vm_prot_bits(0, rec->pkey);
	long account = account_pages(rec);
	struct mm_struct *mm = current->mm;
	bool unsealed;
	LIST_HEAD(uf);
	int err;

	if (rec->flags & CKPT_VMA_READ)
		prot |= PROT_READ;
	if (rec->flags & CKPT_VMA_WRITE)
		prot |= PROT_WRITE;
	if (rec->flags & CKPT_VMA_EXEC)
		prot |= PROT_EXEC;
	flags |= rec->flags & CKPT_VMA_SHARED ? MAP_SHARED : MAP_PRIVATE;
	if (!file)
		flags |= MAP_ANONYMOUS;
	if (rec->flags & CKPT_VMA_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (rec->flags & CKPT_VMA_NORESERVE)
		flags |= MAP_NORESERVE;
	if (rec->flags & CKPT_VMA_STACK)
		flags |= MAP_STACK;
	err = security_mmap_file(file, prot, flags);
	if (err)
		return err;
	if (account && security_vm_enough_memory_mm(mm, account))
		return -ENOMEM;
	unsealed = ckpt_memfd_unseal(file, rec);
	if (mmap_write_lock_killable(mm)) {
		addr = -EINTR;
	} else {
		if (account)
			vm_flags |= VM_ACCOUNT;
		addr = rec->flags & CKPT_VMA_MERGEABLE ? let_merge(mm) : 0;
		if (!addr)
			addr = do_mmap(file, rec->start, rec->end - rec->start, prot, flags, vm_flags,
			       file ? rec->pgoff : 0, &populate, &uf);
		mmap_write_unlock(mm);
	}
	if (unsealed)
		ckpt_memfd_seal(file);
	userfaultfd_unmap_complete(mm, &uf);
	if (IS_ERR_VALUE(addr)) {
		if (account)
			vm_unacct_memory(account);
		return addr;
	}
	/* Pages that are locked are there, unless they wait to be touched. */
	if (populate)
		mm_populate(addr, populate);
	return addr == rec->start ? 0 : -EEXIST;
}

/* Is there, at the place, what the record says? */
static int compare_vma(struct ckpt_ctx *ctx, const struct ckpt_rec_vma *rec)
{
	bool special = is_special(rec->kind);
	/* Follows from the limits and the mode of overcommitment here */
	const u32 loose = CKPT_VMA_ACCOUNT | CKPT_VMA_NORESERVE |
			  (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? 0 : CKPT_VMA_STACK);
	struct vm_area_struct *vma;
	vm_flags_t unknown = 0;
	u32 kind = 0, flags = 0, pkey = 0;
	bool exact = false;

	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, rec->start);
	if (vma && vma->vm_start <= rec->start && vma->vm_end >= rec->end) {
		kind = vma_kind(vma);
		flags = flags_to_image(vma->vm_flags);
		unknown = unknown_flags(vma->vm_flags);
		pkey = vma_pkey(vma);
		exact = vma->vm_start == rec->start && vma->vm_end == rec->end;
	}
	mmap_read_unlock(current->mm);
	/* What no checkpoint takes: the image was edited, or this machine maps otherwise. */
	if (!special && unknown)
		return ckpt_err(ctx, -EINVAL, "mapping %#llx-%#llx: %s, flags %#llx, is not supported",
				rec->start, rec->end, refused_name(unknown) ?: "a mapping",
				(u64)unknown);
	if (kind == rec->kind && (special ? exact : !((flags ^ rec->flags) & ~loose)) &&
	    pkey == rec->pkey)
		return 0;
	return ckpt_err(ctx, -EINVAL, "mapping %#llx-%#llx: kind %u, flags %#x instead of %u, %#x",
			rec->start, rec->end, kind, flags, rec->kind, rec->flags);
}

int ckpt_vma_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_vma *rec = (struct ckpt_rec_vma *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct file *file = NULL;
	int err;

	err = check_vma_record(ctx, rec);
	if (err)
		return err;
	if (rec->kind == CKPT_VMA_FILE)
		file = ckpt_obj_get(ctx, rec->file, CKPT_OBJ_FILE);
	else if (rec->kind == CKPT_VMA_SHMEM)
		file = ckpt_obj_get(ctx, rec->file, CKPT_OBJ_SHMEM);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (!is_special(rec->kind)) {
		err = map_vma(ctx, rec, file);
		if (err)
			return ckpt_err(ctx, err, "mapping %#llx-%#llx", rec->start, rec->end);
		err = name_vma(rec);
		if (err)
			return ckpt_err(ctx, err, "mapping %#llx-%#llx cannot be called %s",
					rec->start, rec->end, rec->name);
	}
	err = compare_vma(ctx, rec);
	m->vma_rec = *rec;
	m->pages_end = rec->start;
	m->mm_vmas++;
	return err;
}

int ckpt_ldt_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_ldt *rec = (struct ckpt_rec_ldt *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (!m->mm_rec.objref || m->own_mm || m->mm_vmas != m->mm_rec.nr_vmas || m->have_ldt)
		return ckpt_err(ctx, -EINVAL,
				"a second table, or one that is not behind the mappings of an address space");
	if (!rec->nr_entries || rec->nr_entries > CKPT_LDT_ENTRIES_MAX || rec->pad ||
	    struct_size(rec, entries, rec->nr_entries) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u descriptors in %u bytes", rec->nr_entries,
				rec->h.len);
	m->have_ldt = true;
	return ckpt_arch_ldt_restore(ctx, rec);
}

static int check_vdso(struct ckpt_ctx *ctx, const struct ckpt_rec_mm *rec)
{
	unsigned long start = 0, end = 0, last = 0;
	struct vm_area_struct *vma;
	u64 hash = 0;
	int err;

	VMA_ITERATOR(vmi, current->mm, rec->vdso_start);

	if (!rec->vdso_start)
		return 0;
	mmap_read_lock(current->mm);
	for_each_vma_range(vmi, vma, rec->vdso_start + rec->vdso_len) {
		if (ckpt_arch_vma_kind(vma) == CKPT_VMA_VDSO) {
			start = vma->vm_start;
			end = vma->vm_end;
		}
		if (ckpt_arch_vma_kind(vma))
			last = vma->vm_end;
	}
	mmap_read_unlock(current->mm);
	err = hash_vdso(ctx, current->mm, start, end, &hash);
	if (err)
		return err;
	if (hash != rec->vdso_hash || last != rec->vdso_start + rec->vdso_len)
		return ckpt_err(ctx, -EINVAL, "the vdso of this kernel is another one");
	return 0;
}

static void set_flags(struct mm_struct *mm, const struct ckpt_rec_mm *rec)
{
	const unsigned long filter = (unsigned long)rec->dump_filter << MMF_DUMP_FILTER_SHIFT;

	if (rec->flags & CKPT_MM_LOCK_FUTURE)
		mm->def_flags |= VM_LOCKED;
	if (rec->flags & CKPT_MM_LOCK_ON_FAULT)
		mm->def_flags |= VM_LOCKONFAULT;
	for (int i = 0; i < ARRAY_SIZE(mm_flags); i++)
		assign_bit(mm_flags[i].bit, &mm->flags, rec->flags & mm_flags[i].image);
	set_mask_bits(&mm->flags, MMF_DUMP_FILTER_MASK, filter);
}

static int set_layout(struct mm_struct *mm, const struct ckpt_rec_mm *rec)
{
	int err;

	mmap_write_lock(mm);
	err = rec->flags & CKPT_MM_MERGE_ANY ? let_merge(mm) : 0;
	if (err)
		goto out;
	spin_lock(&mm->arg_lock);
	mm->start_code = rec->start_code;
	mm->end_code = rec->end_code;
	mm->start_data = rec->start_data;
	mm->end_data = rec->end_data;
	mm->start_brk = rec->start_brk;
	mm->brk = rec->brk;
	mm->start_stack = rec->start_stack;
	mm->arg_start = rec->arg_start;
	mm->arg_end = rec->arg_end;
	mm->env_start = rec->env_start;
	mm->env_end = rec->env_end;
	mm->mmap_base = rec->mmap_base;
	spin_unlock(&mm->arg_lock);
	set_flags(mm, rec);
out:
	mmap_write_unlock(mm);
	return err;
}

int ckpt_mm_end_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_mm_end *rec = (struct ckpt_rec_mm_end *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int err;

	if (!m->mm_rec.objref || rec->objref != m->mm_rec.objref || m->own_mm || rec->pad)
		return ckpt_err(ctx, -EINVAL, "end of address space %d, %d was begun",
				rec->objref, m->mm_rec.objref);
	if (m->mm_vmas != m->mm_rec.nr_vmas)
		return ckpt_err(ctx, -EINVAL, "%u mappings of the %u announced",
				m->mm_vmas, m->mm_rec.nr_vmas);
	err = check_vdso(ctx, &m->mm_rec);
	if (err)
		return err;
	err = ckpt_arch_set_pkeys(current->mm, m->mm_rec.pkeys, m->mm_rec.execute_only_pkey);
	if (err)
		return ckpt_err(ctx, err, "this machine has no protection keys");
	err = set_layout(current->mm, &m->mm_rec);
	if (err)
		return ckpt_err(ctx, err, "pages cannot be merged (PR_SET_MEMORY_MERGE)");
	err = membarrier_register_again(m->mm_rec.membarrier);
	if (err)
		return ckpt_err(ctx, err, "membarrier registrations %#x", m->mm_rec.membarrier);
	m->own_mm = rec->objref;
	return 0;
}

/* As exec(2) changes to a new address space, but to one that is in use. */
static int change_mm(struct mm_struct *mm)
{
	struct mm_struct *old = current->mm;

	exec_mm_release(current, old);
	if (down_write_killable(&current->signal->exec_update_lock))
		return -EINTR;
	sched_mm_cid_before_execve(current);
	mmget(mm);
	scoped_guard(task_lock, current) {
		local_irq_disable();
		current->active_mm = mm;
		WRITE_ONCE(current->mm, mm);
		membarrier_update_current_mm(mm);
		switch_mm_irqs_off(old, mm, current);
		local_irq_enable();
	}
#ifdef finish_arch_post_lock_switch
	finish_arch_post_lock_switch();
#endif
	lru_gen_use_mm(mm);
	sched_mm_cid_after_execve(current);
	up_write(&current->signal->exec_update_lock);
	mm_update_next_owner(old);
	mmput(old);
	return 0;
}

/*
 * Threads have that of their group already, which was complete before the next
 * of them had its turn.  A process may share that of another one.
 */
int ckpt_mm_install(struct ckpt_ctx *ctx, int objref)
{
	struct mm_struct *mm = ckpt_obj_get(ctx, objref, CKPT_OBJ_MM);
	struct ckpt_member *m = ctx->member;
	int err;

	if (IS_ERR(mm))
		return PTR_ERR(mm);
	if (m->mm_rec.objref && !m->own_mm)
		return ckpt_err(ctx, -EINVAL, "address space %d has not ended", m->mm_rec.objref);
	if (mm == current->mm)
		return 0;
	if (m->is_thread || m->own_mm)
		return ckpt_err(ctx, -EINVAL, "address space %d belongs to another task", objref);
	err = check_mdwe(ctx);
	if (err)
		return err;
	err = change_mm(mm);
	if (err)
		return ckpt_err(ctx, err, "address space %d: the task was killed", objref);
	/* The score of one is the score of all. */
	set_bit(MMF_MULTIPROCESS, &mm->flags);
	return 0;
}
