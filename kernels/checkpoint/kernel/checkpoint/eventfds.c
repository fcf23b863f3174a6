// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eventfds: a number that write(2) adds to and read(2) takes.
 *
 * Nobody can open one a second time, so all of it is in the record of its open
 * file.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>

#include "internal.h"

#ifdef CONFIG_EVENTFD
void ckpt_eventfd_save(struct file *file, struct ckpt_rec_file *rec)
{
	bool semaphore;

	rec->size = eventfd_count(file, &semaphore);
	if (semaphore)
		rec->state |= CKPT_FILE_SEMAPHORE;
}

struct file *ckpt_eventfd_open(const struct ckpt_rec_file *rec)
{
	return eventfd_make(rec->size, rec->state & CKPT_FILE_SEMAPHORE ? EFD_SEMAPHORE : 0);
}
#endif
