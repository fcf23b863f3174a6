// SPDX-License-Identifier: GPL-2.0-only
/*
 * Credentials.
 *
 * Ids are written as the user namespace of the tree's root shows them.  On
 * restart a set of credentials is built only if the restarting task could give
 * it to itself by other means: ids by CAP_SETUID and CAP_SETGID, securebits by
 * CAP_SETPCAP, capabilities out of those it has.  An image gains nobody
 * anything.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/sched/user.h>
#include <linux/securebits.h>
#include <linux/slab.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "internal.h"

void ckpt_cred_grab(void *obj)
{
	get_cred(obj);
}

void ckpt_cred_drop(void *obj)
{
	put_cred(obj);
}

int ckpt_cred_check(struct ckpt_ctx *ctx, const struct cred *cred)
{
	if (cred->user_ns != ctx->user_ns)
		return ckpt_err(ctx, -EPERM, "credentials of another user namespace");
	if (ckpt_has_keyrings(cred))
		return ckpt_err(ctx, -EBUSY, "credentials with keyrings");
	return 0;
}

static u64 caps(kernel_cap_t cap)
{
	return cap.val;
}

/* Nobody could be restarted as who has no id there. */
static bool is_mapped(const struct ckpt_rec_cred *rec)
{
	const u32 none = -1;

	for (u32 i = 0; i < rec->nr_groups; i++)
		if (rec->groups[i] == none)
			return false;
	return rec->uid != none && rec->euid != none && rec->suid != none && rec->fsuid != none &&
	       rec->gid != none && rec->egid != none && rec->sgid != none && rec->fsgid != none;
}

int ckpt_cred_save(struct ckpt_ctx *ctx, const struct cred *cred)
{
	struct ckpt_rec_cred *rec __free(kvfree) = NULL;
	struct user_namespace *ns = ctx->user_ns;
	const struct group_info *groups = cred->group_info;
	size_t len;
	bool first;
	int objref, err;

	objref = ckpt_obj_ref(ctx, (void *)cred, CKPT_OBJ_CRED, &first);
	if (objref < 0 || !first)
		return objref;
	err = ckpt_cred_check(ctx, cred);
	if (err)
		return err;
	len = struct_size(rec, groups, ALIGN(groups->ngroups, 2));
	rec = kvzalloc(len, GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "%d groups", groups->ngroups);
	rec->objref = objref;
	rec->securebits = cred->securebits;
	rec->uid = from_kuid(ns, cred->uid);
	rec->euid = from_kuid(ns, cred->euid);
	rec->suid = from_kuid(ns, cred->suid);
	rec->fsuid = from_kuid(ns, cred->fsuid);
	rec->gid = from_kgid(ns, cred->gid);
	rec->egid = from_kgid(ns, cred->egid);
	rec->sgid = from_kgid(ns, cred->sgid);
	rec->fsgid = from_kgid(ns, cred->fsgid);
	rec->cap_inheritable = caps(cred->cap_inheritable);
	rec->cap_permitted = caps(cred->cap_permitted);
	rec->cap_effective = caps(cred->cap_effective);
	rec->cap_bset = caps(cred->cap_bset);
	rec->cap_ambient = caps(cred->cap_ambient);
	rec->nr_groups = groups->ngroups;
	for (int i = 0; i < groups->ngroups; i++)
		rec->groups[i] = from_kgid(ns, groups->gid[i]);
	if (!is_mapped(rec))
		return ckpt_err(ctx, -EBUSY, "a user or a group has no id in the user namespace");
	err = ckpt_write_record(ctx, CKPT_REC_CRED, rec, len);
	return err ?: objref;
}

static bool have_uid(const struct cred *old, kuid_t uid)
{
	return uid_eq(uid, old->uid) || uid_eq(uid, old->euid) || uid_eq(uid, old->suid);
}

bool ckpt_may_be_user(struct ckpt_ctx *ctx, kuid_t uid)
{
	return uid_valid(uid) &&
	       (have_uid(current_cred(), uid) || ns_capable(ctx->user_ns, CAP_SETUID));
}

static bool have_gid(const struct cred *old, kgid_t gid)
{
	return gid_eq(gid, old->gid) || gid_eq(gid, old->egid) || gid_eq(gid, old->sgid);
}

static int set_ids(struct ckpt_ctx *ctx, struct cred *new, const struct ckpt_rec_cred *rec)
{
	struct user_namespace *ns = current_user_ns();

	new->uid = make_kuid(ns, rec->uid);
	new->euid = make_kuid(ns, rec->euid);
	new->suid = make_kuid(ns, rec->suid);
	new->fsuid = make_kuid(ns, rec->fsuid);
	new->gid = make_kgid(ns, rec->gid);
	new->egid = make_kgid(ns, rec->egid);
	new->sgid = make_kgid(ns, rec->sgid);
	new->fsgid = make_kgid(ns, rec->fsgid);
	if (!uid_valid(new->uid) || !uid_valid(new->euid) || !uid_valid(new->suid) ||
	    !uid_valid(new->fsuid) || !gid_valid(new->gid) || !gid_valid(new->egid) ||
	    !gid_valid(new->sgid) || !gid_valid(new->fsgid))
		return ckpt_err(ctx, -EINVAL, "an id is not mapped in this user namespace");
	return 0;
}

static bool same_groups(const struct group_info *a, const struct group_info *b)
{
	if (a->ngroups != b->ngroups)
		return false;
	for (int i = 0; i < a->ngroups; i++)
		if (!gid_eq(a->gid[i], b->gid[i]))
			return false;
	return true;
}

static int set_supplementary(struct ckpt_ctx *ctx, struct cred *new,
			     const struct ckpt_rec_cred *rec)
{
	struct user_namespace *ns = current_user_ns();
	struct group_info *groups;
	int err = 0;

	groups = groups_alloc(rec->nr_groups);
	if (!groups)
		return ckpt_nomem(ctx, "%u groups", rec->nr_groups);
	for (u32 i = 0; i < rec->nr_groups && !err; i++) {
		groups->gid[i] = make_kgid(ns, rec->groups[i]);
		if (!gid_valid(groups->gid[i]))
			err = ckpt_err(ctx, -EINVAL,
				       "group %u is not mapped in this user namespace",
				       rec->groups[i]);
	}
	if (!err) {
		groups_sort(groups);
		set_groups(new, groups);
	}
	put_group_info(groups);
	return err;
}

static int set_caps(struct ckpt_ctx *ctx, struct cred *new, const struct ckpt_rec_cred *rec)
{
	if (rec->cap_effective & ~rec->cap_permitted ||
	    rec->cap_ambient & ~(rec->cap_permitted & rec->cap_inheritable))
		return ckpt_err(ctx, -EINVAL, "capabilities %#llx are in effect, %#llx permitted",
				rec->cap_effective, rec->cap_permitted);
	if ((rec->cap_permitted | rec->cap_inheritable | rec->cap_bset) & ~CAP_VALID_MASK)
		return ckpt_err(ctx, -EINVAL, "capabilities %#llx: some do not exist",
				rec->cap_permitted | rec->cap_inheritable | rec->cap_bset);
	if (rec->securebits & ~(SECURE_ALL_BITS | SECURE_ALL_LOCKS))
		return ckpt_err(ctx, -EINVAL, "securebits %#x", rec->securebits);
	new->cap_inheritable.val = rec->cap_inheritable;
	new->cap_permitted.val = rec->cap_permitted;
	new->cap_effective.val = rec->cap_effective;
	new->cap_bset.val = rec->cap_bset;
	new->cap_ambient.val = rec->cap_ambient;
	new->securebits = rec->securebits;
	return 0;
}

/* What is locked stays as it is, and locked. */
static bool may_set_securebits(unsigned int old, unsigned int new)
{
	unsigned int locked = (old & SECURE_ALL_LOCKS) >> 1;

	if (new == old)
		return true;
	return !(locked & (old ^ new)) && !(old & SECURE_ALL_LOCKS & ~new) &&
	       ns_capable(current_user_ns(), CAP_SETPCAP);
}

int ckpt_cred_check_power(struct ckpt_ctx *ctx, const struct cred *new)
{
	struct user_namespace *ns = current_user_ns();
	const struct cred *old = current_cred();
	u64 inheritable = caps(cap_combine(old->cap_inheritable, old->cap_permitted));

	if (new->user_ns != ns)
		return ckpt_err(ctx, -EPERM, "credentials of another user namespace");
	if ((!have_uid(old, new->uid) || !have_uid(old, new->euid) ||
	     !have_uid(old, new->suid) || !have_uid(old, new->fsuid)) &&
	    !ns_capable(ns, CAP_SETUID))
		return ckpt_err(ctx, -EPERM, "the caller may not become user %u",
				from_kuid_munged(ns, new->uid));
	if ((!have_gid(old, new->gid) || !have_gid(old, new->egid) ||
	     !have_gid(old, new->sgid) || !have_gid(old, new->fsgid)) &&
	    !ns_capable(ns, CAP_SETGID))
		return ckpt_err(ctx, -EPERM, "the caller may not become group %u",
				from_kgid_munged(ns, new->gid));
	if (!same_groups(old->group_info, new->group_info) && !may_setgroups())
		return ckpt_err(ctx, -EPERM, "the caller may not set groups");
	/* As capset(2) and prctl(2) have it. */
	if (caps(new->cap_permitted) & ~caps(old->cap_permitted) ||
	    caps(new->cap_bset) & ~caps(old->cap_bset) ||
	    caps(new->cap_inheritable) & ~inheritable ||
	    caps(new->cap_inheritable) & ~(caps(old->cap_inheritable) | caps(old->cap_bset)))
		return ckpt_err(ctx, -EPERM, "the caller lacks some of the capabilities %#llx",
				caps(new->cap_permitted));
	if (caps(new->cap_bset) != caps(old->cap_bset) && !ns_capable(ns, CAP_SETPCAP))
		return ckpt_err(ctx, -EPERM, "the caller may not drop capabilities for good");
	if (caps(new->cap_ambient) & ~caps(old->cap_ambient) &&
	    old->securebits & issecure_mask(SECURE_NO_CAP_AMBIENT_RAISE))
		return ckpt_err(ctx, -EPERM, "the caller may not raise ambient capabilities");
	if (!may_set_securebits(old->securebits, new->securebits))
		return ckpt_err(ctx, -EPERM, "the caller may not set securebits %#x",
				new->securebits);
	return 0;
}

/* The user that the kernel accounts to follows the real uid. */
static int set_user(struct ckpt_ctx *ctx, struct cred *new)
{
	struct user_struct *user = alloc_uid(new->uid);

	if (!user)
		return ckpt_nomem(ctx, "a user");
	free_uid(new->user);
	new->user = user;
	if (set_cred_ucounts(new))
		return ckpt_err(ctx, -EAGAIN, "no memory for a user's counters");
	return 0;
}

int ckpt_cred_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_cred *rec = (struct ckpt_rec_cred *)ctx->rec;
	struct cred *new;
	int err;

	ctx->current_objref = rec->objref;
	if (rec->nr_groups > NGROUPS_MAX || rec->pad ||
	    struct_size(rec, groups, ALIGN(rec->nr_groups, 2)) != rec->h.len ||
	    !ckpt_is_padded(&rec->h, struct_size(rec, groups, rec->nr_groups)))
		return ckpt_err(ctx, -EINVAL, "%u groups in %u bytes", rec->nr_groups, rec->h.len);
	new = prepare_creds();
	if (!new)
		return ckpt_nomem(ctx, "credentials");
	err = set_ids(ctx, new, rec);
	if (!err)
		err = set_supplementary(ctx, new, rec);
	if (!err)
		err = set_caps(ctx, new, rec);
	if (!err)
		err = ckpt_cred_check_power(ctx, new);
	if (!err)
		err = set_user(ctx, new);
	if (!err)
		err = ckpt_obj_add(ctx, rec->objref, new, CKPT_OBJ_CRED);
	abort_creds(new);
	return err;
}

/* The set may have been built in another member: its power is compared with this one's again. */
int ckpt_cred_install(struct ckpt_ctx *ctx, const struct cred *cred)
{
	struct cred *new;
	int err;

	err = ckpt_cred_check_power(ctx, cred);
	if (err)
		return err;
	new = (struct cred *)get_cred(cred);
	return commit_creds(new);
}
