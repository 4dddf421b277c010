#!/usr/bin/env python3
"""Enqueues telemetry from Python, with nothing but its standard library: standard input has a JSON
object a line, each a long record (schema v1beta2), as the bridge's format=ndjson writes them.

    curl -s "$A/gpus/0/telemetry?format=ndjson" | examples/enqueue.py

ETCD_ENDPOINTS and GPUTEL_PREFIX as for the programs; --host is that of records that name none.
"""
import argparse
import base64
import hashlib
import json
import os
import platform
import sys
import time
import urllib.request


def b64(data):
    return base64.b64encode(data).decode()


def enqueue(etcd, prefix, host, records):
    """Puts pointer and payload of one message in one transaction; returns the message's id.

    records are JSON texts, not objects, so that every number keeps its digits."""
    payload = ("[" + ",\n".join(records) + "]").encode()
    pointer = {"host": host, "schema": "v1beta2", "rows": len(records), "bytes": len(payload),
               "sha256": hashlib.sha256(payload).hexdigest(), "created_at": time.time_ns()}
    ident = f"{time.time_ns():026d}"  # grows with time: messages are stored in this order
    queue, body = f"{prefix}/queue/telemetry/{ident}".encode(), f"{prefix}/payload/telemetry/{ident}".encode()
    transaction = {
        "compare": [{"key": b64(queue), "target": "CREATE", "create_revision": "0"}],
        "success": [{"request_put": {"key": b64(body), "value": b64(payload)}},
                    {"request_put": {"key": b64(queue), "value": b64(json.dumps(pointer).encode())}}],
    }
    request = urllib.request.Request(f"{etcd}/v3/kv/txn", json.dumps(transaction).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        if not json.load(answer).get("succeeded"):
            raise FileExistsError(ident)
    return ident


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default=platform.node(), help="of records that name none")
    parser.add_argument("--batch", type=int, default=1000, help="most records in a message")
    args = parser.parse_args()
    etcd = os.environ.get("ETCD_ENDPOINTS", "localhost:2379").split(",")[0]
    etcd = etcd if "://" in etcd else "http://" + etcd
    lines = [line.strip() for line in sys.stdin if line.strip()]
    for i in range(0, len(lines), args.batch):
        print(enqueue(etcd, os.environ.get("GPUTEL_PREFIX", ""), args.host, lines[i:i + args.batch]))


if __name__ == "__main__":
    main()
