// SPDX-License-Identifier: GPL-2.0-only
/*
 * Namespaces: host and domain name, limits of System V ipc and of POSIX
 * queues, offsets of the monotonic clocks.
 *
 * A namespace that the caller of checkpoint(2) is in, too, is not in the image:
 * its tasks restart into that of whoever restarts them.  Any other is made
 * anew, by the first task that is in it.  The clocks of a time namespace go on
 * from where they were, whatever those of the kernel say by then.
 */
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/ipc_namespace.h>
#include <linux/nsproxy.h>
#include <linux/sched/task.h>
#include <linux/sem.h>
#include <linux/shm.h>
#include <linux/time_namespace.h>
#include <linux/utsname.h>

#include "internal.h"

/* As many as the kernel can be told to offer */
#define IPC_IDS_MAX	(1 << 24)
/* HARD_MSGMAX and HARD_MSGSIZEMAX, which only a kernel with POSIX queues has */
#define MQ_MESSAGES_MAX	65536
#define MQ_BYTES_MAX	(16 << 20)

void ckpt_uts_ns_grab(void *obj)
{
	get_uts_ns(obj);
}

void ckpt_uts_ns_drop(void *obj)
{
	put_uts_ns(obj);
}

void ckpt_ipc_ns_grab(void *obj)
{
	get_ipc_ns(obj);
}

void ckpt_ipc_ns_drop(void *obj)
{
	put_ipc_ns(obj);
}

void ckpt_time_ns_grab(void *obj)
{
	get_time_ns(obj);
}

void ckpt_time_ns_drop(void *obj)
{
	put_time_ns(obj);
}

struct nsproxy *ckpt_task_nsproxy(struct task_struct *task)
{
	struct nsproxy *ns;

	guard(task_lock)(task);
	ns = task->nsproxy;
	if (ns)
		get_nsproxy(ns);
	return ns;
}

static const char *other_namespace(struct ckpt_ctx *ctx, const struct nsproxy *mine,
				   const struct nsproxy *its)
{
	if (!mine || !its)
		return "no";
	if (its->time_ns_for_children != its->time_ns)
		return "(for its children) another time";
	if (its->mnt_ns != mine->mnt_ns)
		return "another mount";
	if (its->net_ns != mine->net_ns)
		return "another network";
	if (its->cgroup_ns != mine->cgroup_ns)
		return "another cgroup";
	return NULL;
}

/* What an ipc namespace holds has no records. */
static int check_empty(struct ckpt_ctx *ctx, struct ipc_namespace *ns)
{
	unsigned int mqueues;
	int sysv = 0;

	/* A kernel without any ipc has none. */
	if (!ns)
		return 0;
	mqueues = READ_ONCE(ns->mq_queues_count);
	for (int i = 0; i < ARRAY_SIZE(ns->ids); i++)
		sysv += READ_ONCE(ns->ids[i].in_use);
	if (sysv)
		return ckpt_err(ctx, -EBUSY, "its ipc namespace holds %d System V objects", sysv);
	if (mqueues)
		return ckpt_err(ctx, -EBUSY, "its ipc namespace holds %u POSIX message queues",
				mqueues);
	return 0;
}

int ckpt_namespaces_check(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct nsproxy *mine = ckpt_task_nsproxy(ctx->root);
	struct nsproxy *its = ckpt_task_nsproxy(task);
	const char *other = other_namespace(ctx, mine, its);
	int err = 0;

	if (other)
		err = ckpt_err(ctx, -EPERM, "is in %s namespace than the root of the tree", other);
	else if (its->ipc_ns != current->nsproxy->ipc_ns || !(ctx->flags & CHECKPOINT_SUBTREE))
		err = check_empty(ctx, its->ipc_ns);
	if (mine)
		put_nsproxy(mine);
	if (its)
		put_nsproxy(its);
	return err;
}

/*
 * The objref of a namespace.  Who owns it may change it: in the image that is
 * the root's user namespace.
 */
static int namespace_ref(struct ckpt_ctx *ctx, void *ns, enum ckpt_obj_type type,
			 const struct user_namespace *owner, bool *first)
{
	int objref = ckpt_obj_ref(ctx, ns, type, first);

	if (objref >= 0 && *first && owner != ctx->user_ns)
		return ckpt_err(ctx, -EPERM, "its %s belongs to another user namespace",
				ckpt_obj_ops[type].name);
	return objref;
}

static int save_uts(struct ckpt_ctx *ctx, struct uts_namespace *ns)
{
	struct ckpt_rec_uts_ns rec = {};
	bool first;
	int err;

	BUILD_BUG_ON(CKPT_UTS_NAME_LEN <= __NEW_UTS_LEN);
	rec.objref = namespace_ref(ctx, ns, CKPT_OBJ_UTS_NS, ns->user_ns, &first);
	if (rec.objref < 0 || !first)
		return rec.objref;
	scoped_guard(rwsem_read, &uts_sem) {
		strscpy_pad(rec.nodename, ns->name.nodename);
		strscpy_pad(rec.domainname, ns->name.domainname);
	}
	err = ckpt_write_record(ctx, CKPT_REC_UTS_NS, &rec, sizeof(rec));
	return err ?: rec.objref;
}

static int save_ipc(struct ckpt_ctx *ctx, struct ipc_namespace *ns)
{
	struct ckpt_rec_ipc_ns rec = {
		.shmmax = ns->shm_ctlmax,
		.shmall = ns->shm_ctlall,
		.shmmni = ns->shm_ctlmni,
		.shm_rmid_forced = ns->shm_rmid_forced,
		.msgmax = ns->msg_ctlmax,
		.msgmnb = ns->msg_ctlmnb,
		.msgmni = ns->msg_ctlmni,
		.semmsl = ns->sem_ctls[0],
		.semmns = ns->sem_ctls[1],
		.semopm = ns->sem_ctls[2],
		.semmni = ns->sem_ctls[3],
		.mq_queues_max = ns->mq_queues_max,
		.mq_msg_max = ns->mq_msg_max,
		.mq_msgsize_max = ns->mq_msgsize_max,
		.mq_msg_default = ns->mq_msg_default,
		.mq_msgsize_default = ns->mq_msgsize_default,
	};
	bool first;
	int err;

	rec.objref = namespace_ref(ctx, ns, CKPT_OBJ_IPC_NS, ns->user_ns, &first);
	if (rec.objref < 0 || !first)
		return rec.objref;
	err = ckpt_write_record(ctx, CKPT_REC_IPC_NS, &rec, sizeof(rec));
	return err ?: rec.objref;
}

static s64 clock_in(ktime_t now, const struct timespec64 *offset)
{
	return ktime_to_ns(ktime_add(now, timespec64_to_ktime(*offset)));
}

static int save_time(struct ckpt_ctx *ctx, struct time_namespace *ns)
{
	struct ckpt_rec_time_ns rec = {};
	bool first;
	int err;

	rec.objref = namespace_ref(ctx, ns, CKPT_OBJ_TIME_NS, ns->user_ns, &first);
	if (rec.objref < 0 || !first)
		return rec.objref;
	rec.monotonic = clock_in(ktime_get(), &ns->offsets.monotonic);
	rec.boottime = clock_in(ktime_get_boottime(), &ns->offsets.boottime);
	err = ckpt_write_record(ctx, CKPT_REC_TIME_NS, &rec, sizeof(rec));
	return err ?: rec.objref;
}

static int save_namespaces(struct ckpt_ctx *ctx, const struct ckpt_task *t,
			   const struct nsproxy *ns, struct ckpt_rec_task_objs *rec)
{
	const struct nsproxy *mine = current->nsproxy;

	if (ns->uts_ns != mine->uts_ns)
		rec->uts_ns = save_uts(ctx, ns->uts_ns);
	if (rec->uts_ns < 0)
		return rec->uts_ns;
	if (ns->ipc_ns != mine->ipc_ns)
		rec->ipc_ns = save_ipc(ctx, ns->ipc_ns);
	if (rec->ipc_ns < 0)
		return rec->ipc_ns;
	if (ns->time_ns != mine->time_ns)
		rec->time_ns = save_time(ctx, ns->time_ns);
	if (rec->time_ns < 0)
		return rec->time_ns;
	rec->pid_ns = ckpt_pid_namespace_of_children(ctx, t);
	return min(rec->pid_ns, 0);
}

int ckpt_namespaces_save(struct ckpt_ctx *ctx, const struct ckpt_task *t,
			 struct ckpt_rec_task_objs *rec)
{
	struct nsproxy *ns = ckpt_task_nsproxy(t->task);
	int err;

	if (!ns)
		return ckpt_err(ctx, -EBUSY, "exits");
	err = save_namespaces(ctx, t, ns, rec);
	put_nsproxy(ns);
	return err;
}

/* --- restart --- */

/* What unshare(2) asks of its caller */
static int may_make(struct ckpt_ctx *ctx, const char *what)
{
	if (ns_capable(current_user_ns(), CAP_SYS_ADMIN))
		return 0;
	return ckpt_err(ctx, -EPERM, "the caller may not make a %s namespace", what);
}

static int made(struct ckpt_ctx *ctx, long err, const char *what)
{
	if (err == -ENOSPC)
		return ckpt_err(ctx, err, "user.max_%s_namespaces is reached", what);
	return ckpt_err(ctx, err, "%s namespace", what);
}

int ckpt_uts_ns_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_uts_ns *rec = (struct ckpt_rec_uts_ns *)ctx->rec;
	struct uts_namespace *ns;
	int err;

	ctx->current_objref = rec->objref;
	if (rec->pad || !ckpt_is_text(rec->nodename, sizeof(rec->nodename)) ||
	    !ckpt_is_text(rec->domainname, sizeof(rec->domainname)) ||
	    strlen(rec->nodename) > __NEW_UTS_LEN || strlen(rec->domainname) > __NEW_UTS_LEN)
		return ckpt_err(ctx, -EINVAL, "padding, or a name that does not end");
	err = may_make(ctx, "uts");
	if (err)
		return err;
	ns = copy_utsname(CLONE_NEWUTS, current_user_ns(), current->nsproxy->uts_ns);
	if (IS_ERR(ns))
		return made(ctx, PTR_ERR(ns), "uts");
	strscpy_pad(ns->name.nodename, rec->nodename);
	strscpy_pad(ns->name.domainname, rec->domainname);
	err = ckpt_obj_add(ctx, rec->objref, ns, CKPT_OBJ_UTS_NS);
	put_uts_ns(ns);
	return err;
}

/* What the sysctls allow, which are the privileged's in their own namespace; some take any number. */
static bool are_limits(const struct ckpt_rec_ipc_ns *rec)
{
	return rec->shmmax == (size_t)rec->shmmax && rec->shmall == (size_t)rec->shmall &&
	       rec->shmmni <= IPC_IDS_MAX && rec->shm_rmid_forced <= 1 &&
	       rec->msgmax <= INT_MAX && rec->msgmnb <= INT_MAX && rec->msgmni <= IPC_IDS_MAX &&
	       rec->semmni <= IPC_IDS_MAX &&
	       rec->mq_msg_max <= MQ_MESSAGES_MAX && rec->mq_msg_default <= MQ_MESSAGES_MAX &&
	       rec->mq_msgsize_max <= MQ_BYTES_MAX && rec->mq_msgsize_default <= MQ_BYTES_MAX;
}

int ckpt_ipc_ns_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_ipc_ns *rec = (struct ckpt_rec_ipc_ns *)ctx->rec;
	struct ipc_namespace *ns;
	int err;

	ctx->current_objref = rec->objref;
	if (rec->pad || !are_limits(rec))
		return ckpt_err(ctx, -EINVAL, "a limit that no sysctl allows");
	err = may_make(ctx, "ipc");
	if (err)
		return err;
	ns = copy_ipcs(CLONE_NEWIPC, current_user_ns(), current->nsproxy->ipc_ns);
	if (IS_ERR(ns))
		return made(ctx, PTR_ERR(ns), "ipc");
	ns->shm_ctlmax = rec->shmmax;
	ns->shm_ctlall = rec->shmall;
	ns->shm_ctlmni = rec->shmmni;
	ns->shm_rmid_forced = rec->shm_rmid_forced;
	ns->msg_ctlmax = rec->msgmax;
	ns->msg_ctlmnb = rec->msgmnb;
	ns->msg_ctlmni = rec->msgmni;
	ns->sem_ctls[0] = rec->semmsl;
	ns->sem_ctls[1] = rec->semmns;
	ns->sem_ctls[2] = rec->semopm;
	ns->sem_ctls[3] = rec->semmni;
	ns->mq_queues_max = rec->mq_queues_max;
	ns->mq_msg_max = rec->mq_msg_max;
	ns->mq_msgsize_max = rec->mq_msgsize_max;
	ns->mq_msg_default = rec->mq_msg_default;
	ns->mq_msgsize_default = rec->mq_msgsize_default;
	err = ckpt_obj_add(ctx, rec->objref, ns, CKPT_OBJ_IPC_NS);
	put_ipc_ns(ns);
	return err;
}

/* Half of what fits: deadlines lie behind the time itself. */
static bool is_clock(s64 ns)
{
	return ns >= 0 && ns <= KTIME_MAX / 2;
}

int ckpt_time_ns_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_time_ns *rec = (struct ckpt_rec_time_ns *)ctx->rec;
	struct time_namespace *ns;
	int err;

	ctx->current_objref = rec->objref;
	if (rec->pad || !is_clock(rec->monotonic) || !is_clock(rec->boottime))
		return ckpt_err(ctx, -EINVAL, "clocks at %lld and %lld ns",
				rec->monotonic, rec->boottime);
	err = may_make(ctx, "time");
	if (err)
		return err;
	if (!ns_capable(current_user_ns(), CAP_SYS_TIME))
		return ckpt_err(ctx, -EPERM, "the caller may not set the clocks of a namespace");
	ns = copy_time_ns(CLONE_NEWTIME, current_user_ns(), current->nsproxy->time_ns);
	if (IS_ERR(ns))
		return made(ctx, PTR_ERR(ns), "time");
	ns->offsets.monotonic = ns_to_timespec64(rec->monotonic - ktime_get_ns());
	ns->offsets.boottime = ns_to_timespec64(rec->boottime - ktime_get_boottime_ns());
	err = ckpt_obj_add(ctx, rec->objref, ns, CKPT_OBJ_TIME_NS);
	put_time_ns(ns);
	return err;
}

int ckpt_namespaces_begin(struct ckpt_ctx *ctx)
{
	ctx->namespaces = ckpt_task_nsproxy(ctx->root);
	return ctx->namespaces ? 0 : ckpt_err(ctx, -ESRCH, "the root of the tree has exited");
}

/* As it came; of pids it may have been given one of its own. */
bool ckpt_namespaces_are_the_roots(struct ckpt_ctx *ctx, struct task_struct *task)
{
	const struct nsproxy *roots = ctx->namespaces;
	struct pid_namespace *pids = ckpt_task_pid_ns(task);
	struct nsproxy *its = ckpt_task_nsproxy(task);
	bool are;

	are = its && its->uts_ns == roots->uts_ns && its->ipc_ns == roots->ipc_ns &&
	      its->mnt_ns == roots->mnt_ns && its->net_ns == roots->net_ns &&
	      its->cgroup_ns == roots->cgroup_ns && its->time_ns == roots->time_ns &&
	      its->time_ns_for_children == roots->time_ns_for_children &&
	      its->pid_ns_for_children == pids;
	if (its)
		put_nsproxy(its);
	if (pids)
		put_pid_ns(pids);
	return are;
}

/* NULL where @objref is 0. */
static void *namespace_of(struct ckpt_ctx *ctx, int objref, enum ckpt_obj_type type)
{
	return objref ? ckpt_obj_get(ctx, objref, type) : NULL;
}

/* The clocks that memory shows are those of all who have it. */
static bool agrees_on_time(struct ckpt_ctx *ctx, int objref)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_member *m = ctx->members[i];

		if (m && m != ctx->member && m->have_objs &&
		    READ_ONCE(m->task->mm) == current->mm && m->own_time_ns != objref)
			return false;
	}
	return true;
}

int ckpt_namespaces_install(struct ckpt_ctx *ctx, const struct ckpt_rec_task_objs *rec)
{
	struct uts_namespace *uts = namespace_of(ctx, rec->uts_ns, CKPT_OBJ_UTS_NS);
	struct ipc_namespace *ipc = namespace_of(ctx, rec->ipc_ns, CKPT_OBJ_IPC_NS);
	struct time_namespace *time = namespace_of(ctx, rec->time_ns, CKPT_OBJ_TIME_NS);
	struct pid_namespace *pids = ckpt_pid_namespace_for_children(ctx, rec->pid_ns);
	struct nsproxy *ns;
	bool moved = false;

	if (IS_ERR(uts) || IS_ERR(ipc) || IS_ERR(time))
		return -EINVAL;
	if (IS_ERR(pids))
		return PTR_ERR(pids);
	/* The clocks that memory shows are the process's. */
	ctx->member->own_time_ns = rec->time_ns;
	if (rec->time_ns != ckpt_group_member(ctx, ctx->member)->own_time_ns)
		return ckpt_err(ctx, -EINVAL, "time namespace %d is not its process's",
				rec->time_ns);
	if (!agrees_on_time(ctx, rec->time_ns))
		return ckpt_err(ctx, -EINVAL,
				"time namespace %d is not that of a process with the same memory",
				rec->time_ns);
	/* A thread has those of its process, which may have left its own behind. */
	if (!uts)
		uts = ctx->namespaces->uts_ns;
	if (!ipc)
		ipc = ctx->namespaces->ipc_ns;
	if (!time)
		time = ctx->namespaces->time_ns;
	if (uts == current->nsproxy->uts_ns && ipc == current->nsproxy->ipc_ns &&
	    time == current->nsproxy->time_ns && !pids)
		return 0;
	ns = nsproxy_copy();
	if (IS_ERR(ns))
		return ckpt_nomem(ctx, "namespaces");
	if (pids) {
		put_pid_ns(ns->pid_ns_for_children);
		ns->pid_ns_for_children = get_pid_ns(pids);
	}
	get_uts_ns(uts);
	put_uts_ns(ns->uts_ns);
	ns->uts_ns = uts;
	if (ipc != ns->ipc_ns) {
		get_ipc_ns(ipc);
		put_ipc_ns(ns->ipc_ns);
		ns->ipc_ns = ipc;
		/* It has none of the old one's objects; an empty list of undos is its group's. */
		if (sem_has_undos(current))
			exit_sem(current);
		exit_shm(current);
		shm_init_task(current);
	}
	if (time != ns->time_ns) {
		get_time_ns(time);
		get_time_ns(time);
		put_time_ns(ns->time_ns);
		put_time_ns(ns->time_ns_for_children);
		ns->time_ns = time;
		ns->time_ns_for_children = time;
		moved = true;
	}
	switch_task_namespaces(current, ns);
	if (moved)
		timens_commit(current, time);
	return 0;
}
