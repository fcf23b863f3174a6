// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reports of what stands in the way of a checkpoint or a restart.
 *
 * One form, one line each, in the log and in the ERROR record of an image:
 *
 *	checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held
 *	restart: error 22 (EINVAL): record VMA at 66104: pid 1: address 0x1000 is not above the last
 */
#include <linux/checkpoint.h>
#include <linux/errname.h>
#include <linux/fs.h>
#include <linux/slab.h>

static void log_line(struct ckpt_ctx *ctx, const char *line, size_t len)
{
	loff_t pos;

	if (!ctx->logfile)
		return;
	/* The log is a help, not a part of the image: a full disk does not fail the call. */
	pos = ctx->logfile->f_pos;
	if (kernel_write(ctx->logfile, line, len, &pos) > 0)
		ctx->logfile->f_pos = pos;
}

int ckpt_err(struct ckpt_ctx *ctx, int err, const char *fmt, ...)
{
	char line[sizeof(ctx->err_text)];
	const char *name = errname(-err);
	size_t len = 0;
	va_list args;

	len += scnprintf(line + len, sizeof(line) - len, "%s: error %d",
			 ctx->restart ? "restart" : "checkpoint", -err);
	if (name)
		len += scnprintf(line + len, sizeof(line) - len, " (%s)", name);
	len += scnprintf(line + len, sizeof(line) - len, ": ");
	if (ctx->restart && ctx->rec_name)
		len += scnprintf(line + len, sizeof(line) - len, "record %s at %llu: ",
				 ctx->rec_name, ctx->rec_at);
	if (ctx->current_pid)
		len += scnprintf(line + len, sizeof(line) - len, "pid %d: ",
				 ctx->current_pid);
	if (ctx->current_objref)
		len += scnprintf(line + len, sizeof(line) - len, "object %d: ",
				 ctx->current_objref);
	va_start(args, fmt);
	len += vscnprintf(line + len, sizeof(line) - len, fmt, args);
	va_end(args);

	if (!ctx->err) {
		ctx->err = err;
		strscpy(ctx->err_text, line);
	}
	if (len == sizeof(line) - 1)
		len--;
	line[len++] = '\n';
	log_line(ctx, line, len);
	return err;
}
