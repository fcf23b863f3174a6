// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signalfds: the signals that read(2) takes from the queues of whoever reads.
 *
 * The queues are the tasks' own, see signals.c.  Nobody can open one a second
 * time, so all of it is in the record of its open file.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/signal.h>

#include "internal.h"

#ifdef CONFIG_SIGNALFD
void ckpt_signalfd_save(const struct file *file, struct ckpt_rec_file *rec)
{
	sigset_t signals = signalfd_signals(file);

	rec->size = ckpt_mask_from_sigset(&signals);
}

struct file *ckpt_signalfd_open(const struct ckpt_rec_file *rec)
{
	sigset_t signals;

	ckpt_mask_to_sigset(rec->size, &signals);
	/* As signalfd(2) */
	if (sigismember(&signals, SIGKILL) || sigismember(&signals, SIGSTOP))
		return ERR_PTR(-EINVAL);
	return signalfd_make(&signals, 0);
}
#endif
