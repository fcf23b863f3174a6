// SPDX-License-Identifier: GPL-2.0-only
/*
 * Epoll sets: what they watch, for which events, and what is ready.
 *
 * Of the set itself the record of its open file says it all.  What it watches
 * may be open in a task that comes later, so the items of all sets follow behind
 * the last task, and the coordinator adds them to the files that the members
 * have opened.  Ready items come first, in the order in which epoll_wait(2)
 * tells of them.  An edge that was told is not told again: whether an item is
 * ready is in the image.  Nothing is lost meanwhile, since nothing that a file
 * has to tell of itself, as a timer does, goes on before all items are there.
 *
 * A signalfd that is watched tells of the signals of the task that had added it:
 * the item refers to that task's signal actions.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/eventpoll.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "internal.h"

/* What is left of the events of an item that was to tell once, and has */
#define DISABLED_EVENTS	((__force u32)(EPOLLWAKEUP | EPOLLONESHOT | EPOLLET))
/* Whoever watches anything is told of these, too */
#define GIVEN_EVENTS	((__force u32)(EPOLLERR | EPOLLHUP))

#ifdef CONFIG_EPOLL
/* A set, in the order of the image */
struct ckpt_epoll {
	struct list_head list;
	struct file *file;		/* held by the object hash */
	int objref;
	struct task_struct *task;	/* restart: who has opened it, a member's */
};

int ckpt_epoll_note(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct ckpt_epoll *e = kmalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);

	if (!e)
		return ckpt_nomem(ctx, "an epoll set");
	*e = (struct ckpt_epoll) { .file = file, .objref = objref, .task = current };
	list_add_tail(&e->list, &ctx->epolls);
	return 0;
}

void ckpt_epolls_free(struct ckpt_ctx *ctx)
{
	struct ckpt_epoll *e, *next;

	list_for_each_entry_safe(e, next, &ctx->epolls, list)
		kfree(e);
}

/* --- checkpoint --- */

static int save_item(struct ckpt_ctx *ctx, const struct epoll_item *item,
		     struct ckpt_rec_epoll_item *rec)
{
	rec->file = ckpt_obj_find(ctx, item->file, CKPT_OBJ_FILE);
	if (!rec->file)
		return ckpt_err(ctx, -EBUSY,
				"what it watches as fd %d is not open in the tree, or is where the image goes",
				item->fd);
	if (is_signalfd(item->file) && item->signals) {
		rec->sighand = ckpt_obj_find(ctx, container_of(item->signals, struct sighand_struct,
							       signalfd_wqh), CKPT_OBJ_SIGHAND);
		if (!rec->sighand)
			return ckpt_err(ctx, -EBUSY,
					"the signals that it watches as fd %d are those of a task outside of the tree",
					item->fd);
	}
	rec->fd = item->fd;
	rec->events = (__force u32)item->events;
	rec->data = item->data;
	rec->flags = item->ready ? CKPT_EPOLL_READY : 0;
	return 0;
}

/* Those that are not ready have no order. */
static int compare_items(const void *a, const void *b)
{
	const struct ckpt_rec_epoll_item *x = a, *y = b;

	if (x->fd != y->fd)
		return x->fd < y->fd ? -1 : 1;
	return x->file < y->file ? -1 : x->file > y->file;
}

static int save_set(struct ckpt_ctx *ctx, const struct ckpt_epoll *e)
{
	struct ckpt_rec_epoll_item *recs __free(kvfree) = NULL;
	struct epoll_item *items __free(kvfree) = NULL;
	struct ckpt_rec_epoll rec = { .objref = e->objref };
	struct epoll_params params;
	unsigned int nr = epoll_get(e->file, &params, NULL, 0), ready = 0;
	int err;

	items = kvcalloc(nr, sizeof(*items), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	recs = kvcalloc(nr, sizeof(*recs), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (nr && (!items || !recs))
		return ckpt_nomem(ctx, "%u items", nr);
	if (epoll_get(e->file, &params, items, nr) != nr)
		return ckpt_err(ctx, -EBUSY, "the epoll set has changed");
	for (unsigned int i = 0; i < nr; i++) {
		err = save_item(ctx, &items[i], &recs[i]);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		if (err)
			return err;
		ready += items[i].ready;
		cond_resched();
	}
	if (nr)
		sort(recs + ready, nr - ready, sizeof(*recs), compare_items, NULL);
	rec.nr_items = nr;
	rec.busy_poll_usecs = params.busy_poll_usecs;
	rec.busy_poll_budget = params.busy_poll_budget;
	rec.prefer_busy_poll = params.prefer_busy_poll;
	err = ckpt_write_record(ctx, CKPT_REC_EPOLL, &rec, sizeof(rec));
	for (unsigned int i = 0; !err && i < nr; i++)
		err = ckpt_write_record(ctx, CKPT_REC_EPOLL_ITEM, &recs[i], sizeof(recs[i]));
	return err;
}

/* When all tasks have been saved, and so all files that may be watched. */
int ckpt_epolls_save(struct ckpt_ctx *ctx)
{
	const struct ckpt_epoll *e;
	int err = 0;

	list_for_each_entry(e, &ctx->epolls, list) {
		ctx->current_objref = e->objref;
		err = save_set(ctx, e);
		if (err)
			break;
	}
	if (!err)
		ctx->current_objref = 0;
	return err;
}

/* --- restart --- */

struct file *ckpt_epoll_open(void)
{
	return epoll_make(0);
}

static int next_item(struct ckpt_ctx *ctx, const struct ckpt_epoll *e)
{
	int err = ckpt_read_record(ctx);

	if (err)
		return err;
	ctx->current_objref = e->objref;
	if (ctx->rec->type != CKPT_REC_EPOLL_ITEM)
		return ckpt_err(ctx, -EINVAL, "an EPOLL_ITEM record of the epoll set is expected here");
	return 0;
}

static int check_item(struct ckpt_ctx *ctx, const struct ckpt_rec_epoll_item *rec, bool was_ready)
{
	if (rec->flags & ~CKPT_EPOLL_READY || (rec->flags && !was_ready) || rec->pad)
		return ckpt_err(ctx, -EINVAL, "fd %d: flags %#x, padding %#x", rec->fd,
				rec->flags, rec->pad);
	if (rec->fd < 0 || rec->fd >= sysctl_nr_open)
		return ckpt_err(ctx, -EINVAL, "fd %d", rec->fd);
	if (rec->events & ~DISABLED_EVENTS ? ~rec->events & GIVEN_EVENTS :
	    !(rec->events & (__force u32)EPOLLONESHOT))
		return ckpt_err(ctx, -EINVAL, "fd %d: events %#x", rec->fd, rec->events);
	return 0;
}

/* As whoever has opened the set could. */
static int add_item(struct ckpt_ctx *ctx, struct file *set, const struct ckpt_rec_epoll_item *rec)
{
	struct epoll_item item = {
		.file	= ckpt_obj_get(ctx, rec->file, CKPT_OBJ_FILE),
		.fd	= rec->fd,
		.events	= (__force __poll_t)rec->events,
		.data	= rec->data,
		.ready	= rec->flags & CKPT_EPOLL_READY,
	};
	const struct cred *old;
	int err;

	if (IS_ERR(item.file))
		return PTR_ERR(item.file);
	if (rec->sighand) {
		struct sighand_struct *sighand = ckpt_obj_get(ctx, rec->sighand, CKPT_OBJ_SIGHAND);

		if (IS_ERR(sighand))
			return PTR_ERR(sighand);
		if (!is_signalfd(item.file))
			return ckpt_err(ctx, -EINVAL, "fd %d is no signalfd, and tells of object %d",
					rec->fd, rec->sighand);
		item.signals = &sighand->signalfd_wqh;
	}
	old = override_creds(set->f_cred);
	err = epoll_add(set, &item);
	revert_creds(old);
	if (err == -ENOSPC)
		return ckpt_err(ctx, err, "fs.epoll.max_user_watches is reached");
	if (err)
		return ckpt_err(ctx, err, "object %d cannot be watched as fd %d", rec->file,
				rec->fd);
	return 0;
}

static int restore_set(struct ckpt_ctx *ctx, const struct ckpt_epoll *e)
{
	const struct ckpt_rec_epoll *rec = (struct ckpt_rec_epoll *)ctx->rec;
	struct epoll_params params = {};
	const struct cred *old;
	bool ready = true;
	u32 nr_items;
	int err;

	if (rec->objref != e->objref || rec->pad)
		return ckpt_err(ctx, -EINVAL, "the items of object %d, padding %#x", rec->objref,
				rec->pad);
	params.busy_poll_usecs = rec->busy_poll_usecs;
	params.busy_poll_budget = rec->busy_poll_budget;
	params.prefer_busy_poll = rec->prefer_busy_poll;
	old = override_creds(e->file->f_cred);
	err = epoll_set_params(e->file, &params);
	revert_creds(old);
	if (err)
		return ckpt_err(ctx, err, "busy polling for %u us, budget %u, preferred %u",
				rec->busy_poll_usecs, rec->busy_poll_budget, rec->prefer_busy_poll);
	nr_items = rec->nr_items;
	for (u32 i = 0; i < nr_items; i++) {
		const struct ckpt_rec_epoll_item *item;

		if (fatal_signal_pending(current))
			return ckpt_err(ctx, -EINTR, "a signal came");
		err = next_item(ctx, e);
		if (err)
			return err;
		item = (struct ckpt_rec_epoll_item *)ctx->rec;
		err = check_item(ctx, item, ready) ?: add_item(ctx, e->file, item);
		if (err)
			return err;
		ready = item->flags & CKPT_EPOLL_READY;
		cond_resched();
	}
	return 0;
}

/* The EPOLL record was read: those of the set whose file was the next. */
int ckpt_epoll_restore(struct ckpt_ctx *ctx)
{
	struct ckpt_epoll *e = list_first_entry_or_null(&ctx->epolls, struct ckpt_epoll, list);
	struct mem_cgroup *memcg, *old;
	int err;

	if (!e)
		return ckpt_err(ctx, -EINVAL, "there is no epoll set left");
	ctx->current_objref = e->objref;
	/* What is allocated for the set is the task's, and not the coordinator's. */
	memcg = ckpt_memcg_of(e->task);
	old = set_active_memcg(memcg);
	err = restore_set(ctx, e);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (err)
		return err;
	ctx->current_objref = 0;
	list_del(&e->list);
	kfree(e);
	return 0;
}
#endif
