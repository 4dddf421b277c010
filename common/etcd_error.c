#include "etcd_internal.h"

#include <stdio.h>

enum {
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

/* The first row that fits, by code and by what the message holds (etcdserver/api/v3rpc/rpctypes).
 * What is not listed may have been carried out. */
static const struct {
	int code;
	const char *message; /* part of it; NULL: any */
	int r;
} meanings[] = {
	{GRPC_INVALID_ARGUMENT, "too large", -E2BIG},
	{GRPC_INVALID_ARGUMENT, "too many operations", -E2BIG},
	{GRPC_INVALID_ARGUMENT, "authentication failed", -EACCES},
	{GRPC_INVALID_ARGUMENT, "user name is empty", ETCD_TOKEN_REFUSED},
	{GRPC_INVALID_ARGUMENT, "auth store is old", ETCD_TOKEN_REFUSED},
	{GRPC_INVALID_ARGUMENT, NULL, -EINVAL},
	{GRPC_DEADLINE_EXCEEDED, NULL, -ETIMEDOUT},
	{GRPC_NOT_FOUND, NULL, -ENOENT},
	{GRPC_PERMISSION_DENIED, NULL, -EACCES},
	{GRPC_RESOURCE_EXHAUSTED, "space exceeded", -ENOSPC},
	{GRPC_RESOURCE_EXHAUSTED, "received message larger than max", -E2BIG},
	{GRPC_FAILED_PRECONDITION, "lease already exists", -EEXIST},
	{GRPC_FAILED_PRECONDITION, "authentication is not enabled", -EOPNOTSUPP},
	{GRPC_FAILED_PRECONDITION, "user name not found", -EACCES},
	{GRPC_FAILED_PRECONDITION, NULL, -EINVAL},
	{GRPC_OUT_OF_RANGE, "compacted", -ESTALE},
	{GRPC_OUT_OF_RANGE, "future revision", -ESTALE},
	{GRPC_OUT_OF_RANGE, NULL, -EINVAL},
	{GRPC_UNIMPLEMENTED, NULL, -EINVAL},
	{GRPC_UNAUTHENTICATED, NULL, ETCD_TOKEN_REFUSED},
};

static int meaning(int64_t code, const char *message)
{
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		if (meanings[i].code == code &&
		    (!meanings[i].message || strstr(message, meanings[i].message)))
			return meanings[i].r;
	}
	return -EIO;
}

/* Unary: {"error":"text","message":"text","code":5}
 * In a stream: {"error":{"grpc_code":5,"http_code":404,"message":"text","http_status":"…"}} */
int etcd_error(int http_status, const struct json *doc, struct err *e)
{
	const struct json *error = json_get(doc, "error");
	struct slice text;
	int64_t code;

	if (!error) /* of somebody in between: it says nothing of the request */
		return err_set(e, -EIO, "HTTP status %d, without etcd's words", http_status);
	if (json_is_string(error)) {
		text = json_str(error);
		code = json_int(json_get(doc, "code"), 0);
	} else {
		text = json_str(json_get(error, "message"));
		code = json_int(json_get(error, "grpc_code"), 0);
	}
	return etcd_meaning(code, text, e);
}

int etcd_meaning(int64_t code, struct slice message, struct err *e)
{
	err_set(e, 0, "%.*s", (int)MIN(message.len, 300), message.p);
	return meaning(code, message.p);
}

bool etcd_outage(int r)
{
	return r == -ECONNREFUSED || r == -ETIMEDOUT || r == -ECONNRESET || r == -EIO;
}

bool etcd_unknown(int r)
{
	return r == -ETIMEDOUT || r == -ECONNRESET || r == -EIO || r == -ENOSPC;
}

bool etcd_transient(int r)
{
	return etcd_unknown(r) || r == -ECONNREFUSED;
}
