#!/usr/bin/env bash
# Users of etcd with the least that each gputel program needs, and authentication switched on.
#
#   users.sh FOLDER [PREFIX]     PREFIX as of GPUTEL_PREFIX
#
# etcdctl's own variables say which etcd (ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY). Leaves
# FOLDER/PROGRAM.env with ETCD_USERNAME and ETCD_PASSWORD of streamer, collector, fs and bridge, and root.env for you.
#
#   streamer   the queue, its payloads, producers and their idempotency keys; who collects; what is counted
#   collector  everything below the prefix. To clear a NOSPACE alarm and to defragment, etcd wants root: with
#              ETCD_MAINTENANCE=on give the user the role `root`, or leave that to somebody else (off)
#   fs         reads the store and what is counted
#   bridge     the same; and what a streamer may, for POST /api/v1/ingest
set -euo pipefail

folder=${1:?where to}
prefix=${2:-}
export ETCDCTL_API=3
mkdir -p "$folder"
umask 077

password() { head -c 18 /dev/urandom | base64 | tr '+/' '-_'; }

# user NAME: with a role of the same name
user() {
	local secret
	secret=$(password)
	etcdctl role add "$1" >/dev/null
	# from standard input: arguments are seen by ps
	printf '%s\n' "$secret" | etcdctl user add "$1" --interactive=false >/dev/null
	etcdctl user grant-role "$1" "$1" >/dev/null
	printf 'ETCD_USERNAME=%s\nETCD_PASSWORD=%s\n' "$1" "$secret" >"$folder/$1.env"
}

# may ROLE read|readwrite KEY…: everything that begins with it
may() {
	local key
	for key in "${@:3}"; do
		etcdctl role grant-permission "$1" "$2" --prefix=true "$prefix$key" >/dev/null
	done
}

store=(/telemetry/ /stats/ /queue/ /producers/ /processing/ /deadletter/ /consumers/)
publish=(/queue/ /payload/ /producers/ /processed/ /idle/ /stats/)

user streamer
may streamer readwrite "${publish[@]}"
may streamer readwrite /nothing
may streamer read /consumers/ /deadletter/ /processing/ /telemetry/config

user collector
if [ -n "$prefix" ]; then
	may collector readwrite ""
else
	etcdctl role grant-permission collector readwrite --from-key=true "" >/dev/null
fi

user fs
may fs read "${store[@]}"

user bridge
may bridge read "${store[@]}"
may bridge readwrite "${publish[@]}" /nothing

user root
etcdctl user grant-role root root >/dev/null
etcdctl auth enable >/dev/null
