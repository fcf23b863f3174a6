// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects that tasks share, and their numbers.
 *
 * On checkpoint an object is found by its address and gets the next number; on
 * restart it is found by the number that the image gives it.  The hash holds a
 * reference on each until the tasks go on.  Needs no lock: it belongs to
 * whoever holds the context.
 */
#include <linux/checkpoint.h>
#include <linux/delay.h>
#include <linux/hashtable.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#define OBJHASH_BITS	10

struct ckpt_obj {
	struct hlist_node node;
	void *ptr;
	enum ckpt_obj_type type;
	int objref;
	int uses;	/* references that were found in the tree */
};

struct ckpt_objhash {
	struct xarray by_ref;
	int last;
	DECLARE_HASHTABLE(by_ptr, OBJHASH_BITS);
};

struct ckpt_objhash *ckpt_objhash_alloc(void)
{
	struct ckpt_objhash *objs = kzalloc(sizeof(*objs), GFP_KERNEL_ACCOUNT);

	if (objs) {
		xa_init(&objs->by_ref);
		hash_init(objs->by_ptr);
	}
	return objs;
}

void ckpt_objhash_free(struct ckpt_objhash *objs)
{
	struct ckpt_obj *obj;
	unsigned long index;

	if (!objs)
		return;
	xa_for_each(&objs->by_ref, index, obj) {
		ckpt_obj_ops[obj->type].drop(obj->ptr);
		kfree(obj);
	}
	xa_destroy(&objs->by_ref);
	kfree(objs);
}

static int obj_insert(struct ckpt_objhash *objs, int objref, void *ptr,
		      enum ckpt_obj_type type)
{
	struct ckpt_obj *obj = kzalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);
	int err;

	if (!obj)
		return -ENOMEM;
	obj->ptr = ptr;
	obj->type = type;
	obj->objref = objref;
	obj->uses = 1;
	err = xa_insert(&objs->by_ref, objref, obj, GFP_KERNEL_ACCOUNT);
	if (err) {
		kfree(obj);
		return err;
	}
	hash_add(objs->by_ptr, &obj->node, (unsigned long)ptr);
	ckpt_obj_ops[type].grab(ptr);
	return 0;
}

static struct ckpt_obj *obj_find(struct ckpt_objhash *objs, const void *ptr,
				 enum ckpt_obj_type type)
{
	struct ckpt_obj *obj;

	hash_for_each_possible(objs->by_ptr, obj, node, (unsigned long)ptr)
		if (obj->ptr == ptr && obj->type == type)
			return obj;
	return NULL;
}

int ckpt_obj_find(struct ckpt_ctx *ctx, const void *ptr, enum ckpt_obj_type type)
{
	const struct ckpt_obj *obj = obj_find(ctx->objs, ptr, type);

	return obj ? obj->objref : 0;
}

void *ckpt_obj_next(struct ckpt_ctx *ctx, int *objref, enum ckpt_obj_type type)
{
	unsigned long index = *objref;
	struct ckpt_obj *obj;

	while ((obj = xa_find_after(&ctx->objs->by_ref, &index, ULONG_MAX, XA_PRESENT)))
		if (obj->type == type) {
			*objref = index;
			return obj->ptr;
		}
	return NULL;
}

int ckpt_obj_ref(struct ckpt_ctx *ctx, void *ptr, enum ckpt_obj_type type, bool *first)
{
	struct ckpt_objhash *objs = ctx->objs;
	struct ckpt_obj *obj = obj_find(objs, ptr, type);
	int err;

	*first = false;
	if (obj) {
		obj->uses++;
		return obj->objref;
	}
	err = obj_insert(objs, objs->last + 1, ptr, type);
	if (err)
		return ckpt_err(ctx, err, "no memory for one more %s", ckpt_obj_ops[type].name);
	*first = true;
	return ++objs->last;
}

int ckpt_obj_check_users(struct ckpt_ctx *ctx)
{
	struct ckpt_obj *obj;
	unsigned long index;

	xa_for_each(&ctx->objs->by_ref, index, obj) {
		const struct ckpt_obj_ops *ops = &ckpt_obj_ops[obj->type];
		int users;

		if (!ops->users || !(ctx->container || (ops->whole && ops->whole(obj->ptr))))
			continue;
		users = ops->users(obj->ptr);
		/* Whoever looks at it by /proc holds a reference for a moment. */
		for (int tries = 0; users > obj->uses && tries < CKPT_LOOKS; tries++) {
			usleep_range(200, 1000);
			users = ops->users(obj->ptr);
		}
		ctx->current_objref = obj->objref;
		if (users > obj->uses)
			return ckpt_err(ctx, -EBUSY,
					"%s is in use outside of the %s too: %d users, %d of them found",
					ops->name, ctx->container ? "container" : "tree", users,
					obj->uses);
	}
	ctx->current_objref = 0;
	return 0;
}

int ckpt_obj_add(struct ckpt_ctx *ctx, int objref, void *ptr, enum ckpt_obj_type type)
{
	int err;

	if (objref <= 0)
		return ckpt_err(ctx, -EINVAL, "objref %d is not positive", objref);
	err = obj_insert(ctx->objs, objref, ptr, type);
	if (err == -EBUSY)
		return ckpt_err(ctx, -EINVAL, "objref %d is taken", objref);
	if (err)
		return ckpt_err(ctx, err, "no memory for one more %s", ckpt_obj_ops[type].name);
	return 0;
}

void *ckpt_obj_get(struct ckpt_ctx *ctx, int objref, enum ckpt_obj_type type)
{
	struct ckpt_obj *obj = objref > 0 ? xa_load(&ctx->objs->by_ref, objref) : NULL;

	if (obj && obj->type == type)
		return obj->ptr;
	if (obj)
		ckpt_err(ctx, -EINVAL, "objref %d is a %s, not a %s", objref,
			 ckpt_obj_ops[obj->type].name, ckpt_obj_ops[type].name);
	else
		ckpt_err(ctx, -EINVAL, "objref %d does not exist", objref);
	return ERR_PTR(-EINVAL);
}
