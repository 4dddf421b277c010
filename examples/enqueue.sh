#!/bin/sh
# Enqueues telemetry with etcdctl: standard input is a JSON array of wide records (schema v1beta1).
#
#   echo '[{"timestamp":"2025-07-18T20:42:34Z","gpu_id":0,"DCGM_FI_DEV_GPU_UTIL":87}]' | examples/enqueue.sh node-17
#
# HOST is that of records that name none. ETCD_ENDPOINTS and GPUTEL_PREFIX as for the programs.
# The message's id is 26 digits that grow with time; pointer and payload come in one transaction.
set -eu
host=${1:?usage: enqueue.sh HOST <records.json}
prefix=${GPUTEL_PREFIX:-}
id=$(printf '%026d' "$(date +%s%N)")
quote() { printf '"%s"' "$(tr -d '\r\n' | sed 's/[\\"]/\\&/g')"; } # one line, as etcdctl reads it
payload=$(quote)
pointer=$(printf '{"host":"%s","schema":"v1beta1"}' "$host" | quote)
out=$(ETCDCTL_API=3 etcdctl --endpoints "${ETCD_ENDPOINTS:-localhost:2379}" txn <<END
create("$prefix/queue/telemetry/$id") = "0"

put "$prefix/payload/telemetry/$id" $payload
put "$prefix/queue/telemetry/$id" $pointer


END
)
case $out in
SUCCESS*) echo "$id" ;;
*) echo "enqueue.sh: $out" >&2; exit 1 ;;
esac
