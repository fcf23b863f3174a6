/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the architectures' checkpoint.c have in common.
 */
#ifndef _ASM_GENERIC_CHECKPOINT_H
#define _ASM_GENERIC_CHECKPOINT_H

#include <linux/mm.h>
#include <linux/string.h>
#include <uapi/linux/checkpoint.h>

/* The kernel's own mappings have names that no other mapping can have. */
static inline u32 ckpt_vma_kind_by_name(struct vm_area_struct *vma)
{
	const char *name = NULL;

	if (vma->vm_ops && vma->vm_ops->name)
		name = vma->vm_ops->name(vma);
	if (!name)
		return 0;
	if (!strcmp(name, "[vdso]"))
		return CKPT_VMA_VDSO;
	if (!strcmp(name, "[vvar]"))
		return CKPT_VMA_VVAR;
	return 0;
}

#endif /* _ASM_GENERIC_CHECKPOINT_H */
