// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signal actions.
 *
 * Read under siglock into a record, written under siglock from one.  The
 * actions are copied whole: what sigaction(2) does beside that, flushing
 * ignored signals, has nothing to do in a task without pending ones.
 */
#include <linux/checkpoint.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/signal.h>
#include <linux/slab.h>

#include "internal.h"

void ckpt_sighand_grab(void *obj)
{
	struct sighand_struct *sighand = obj;

	refcount_inc(&sighand->count);
}

void ckpt_sighand_drop(void *obj)
{
	__cleanup_sighand(obj);
}

int ckpt_sighand_users(void *obj)
{
	struct sighand_struct *sighand = obj;

	return refcount_read(&sighand->count) - 1;
}

/* The task's actions with a counted reference; NULL when it has exited. */
static struct sighand_struct *task_sighand(struct task_struct *task)
{
	struct sighand_struct *sighand;
	unsigned long flags;

	sighand = lock_task_sighand(task, &flags);
	if (sighand) {
		ckpt_sighand_grab(sighand);
		unlock_task_sighand(task, &flags);
	}
	return sighand;
}

int ckpt_sighand_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_rec_sighand *rec __free(kfree) = NULL;
	struct sighand_struct *sighand = task_sighand(task);
	bool first;
	int objref, err;

	BUILD_BUG_ON(_NSIG != CKPT_NSIG);
	if (!sighand)
		return ckpt_err(ctx, -EBUSY, "has exited");
	objref = ckpt_obj_ref(ctx, sighand, CKPT_OBJ_SIGHAND, &first);
	/* From here on the hash holds it. */
	ckpt_sighand_drop(sighand);
	if (objref < 0 || !first)
		return objref;
	rec = kzalloc(sizeof(*rec), GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	spin_lock_irq(&sighand->siglock);
	for (int i = 0; i < _NSIG; i++) {
		const struct sigaction *sa = &sighand->action[i].sa;

		rec->action[i] = (struct ckpt_sigaction) {
			.handler = (unsigned long)sa->sa_handler,
			.flags = sa->sa_flags,
			.restorer = ckpt_restorer_get(sa),
			.mask = ckpt_mask_from_sigset(&sa->sa_mask),
		};
	}
	spin_unlock_irq(&sighand->siglock);
	for (int i = 0; i < _NSIG; i++)
		if (rec->action[i].flags & SA_IMMUTABLE)
			return ckpt_err(ctx, -EBUSY, "the action of signal %d is immutable", i + 1);
	err = ckpt_write_record(ctx, CKPT_REC_SIGHAND, rec, sizeof(*rec));
	return err ?: objref;
}

static int check_action(struct ckpt_ctx *ctx, const struct ckpt_sigaction *a, int sig,
			struct sigaction *sa)
{
	if (a->flags & ~(u64)UAPI_SA_FLAGS || (unsigned long)a->handler != a->handler)
		return ckpt_err(ctx, -EINVAL, "signal %d: handler %#llx, flags %#llx",
				sig, a->handler, a->flags);
	if (sig_kernel_only(sig) && a->handler)
		return ckpt_err(ctx, -EINVAL, "signal %d cannot have a handler", sig);
	sa->sa_handler = (__sighandler_t)(unsigned long)a->handler;
	sa->sa_flags = a->flags;
	ckpt_mask_to_sigset(a->mask, &sa->sa_mask);
	sigdelsetmask(&sa->sa_mask, sigmask(SIGKILL) | sigmask(SIGSTOP));
	if (!ckpt_restorer_set(sa, a->restorer))
		return ckpt_err(ctx, -EINVAL, "signal %d: restorer %#llx", sig, a->restorer);
	return 0;
}

int ckpt_sighand_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_sighand *rec = (struct ckpt_rec_sighand *)ctx->rec;
	struct sighand_struct *sighand = rcu_dereference_protected(current->sighand, true);
	struct k_sigaction *action __free(kfree) = kcalloc(_NSIG, sizeof(*action), GFP_KERNEL);
	int err;

	if (!action)
		return ckpt_nomem(ctx, "signal actions");
	ctx->current_objref = rec->objref;
	if (ctx->member->own_sighand || !ctx->member->has_group || rec->pad)
		return ckpt_err(ctx, -EINVAL, "a second table for one process");
	if (refcount_read(&sighand->count) != ckpt_group_size(ctx))
		return ckpt_err(ctx, -EBUSY, "the restarting task shares its signal actions");
	for (int i = 0; i < _NSIG; i++) {
		err = check_action(ctx, &rec->action[i], i + 1, &action[i].sa);
		if (err)
			return err;
	}
	spin_lock_irq(&sighand->siglock);
	memcpy(sighand->action, action, sizeof(sighand->action));
	spin_unlock_irq(&sighand->siglock);
	ctx->member->own_sighand = rec->objref;
	return ckpt_obj_add(ctx, rec->objref, sighand, CKPT_OBJ_SIGHAND);
}

/* Threads that are still to be made, of a leader that has exited, bring memory of their own. */
static bool leads_threads(struct ckpt_ctx *ctx)
{
	int pid = ctx->member->pid;

	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].tgid == pid && ctx->tasks[i].pid != pid)
			return true;
	return false;
}

/* Nobody shares them without sharing memory, where the handlers are; of those that have any. */
static bool shares_memory(struct ckpt_ctx *ctx, const struct sighand_struct *sighand)
{
	if (ctx->member->has_exited && !leads_threads(ctx))
		return true;
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_member *m = ctx->members[i];

		if (m && m != ctx->member && !m->has_exited &&
		    rcu_access_pointer(m->task->sighand) == sighand &&
		    READ_ONCE(m->task->mm) != current->mm)
			return false;
	}
	return true;
}

/*
 * Threads have those of their group already.  A process, which has no threads
 * yet, may share those of another one.
 */
int ckpt_sighand_install(struct ckpt_ctx *ctx, int objref)
{
	struct sighand_struct *sighand = ckpt_obj_get(ctx, objref, CKPT_OBJ_SIGHAND);
	struct sighand_struct *old = rcu_dereference_protected(current->sighand, true);

	if (IS_ERR(sighand))
		return PTR_ERR(sighand);
	if (sighand == old)
		return 0;
	if (ctx->member->is_thread || ctx->member->own_sighand || !shares_memory(ctx, sighand))
		return ckpt_err(ctx, -EINVAL, "signal actions %d belong to another task", objref);
	ckpt_sighand_grab(sighand);
	write_lock_irq(&tasklist_lock);
	spin_lock(&old->siglock);
	rcu_assign_pointer(current->sighand, sighand);
	spin_unlock(&old->siglock);
	write_unlock_irq(&tasklist_lock);
	ckpt_sighand_drop(old);
	return 0;
}
