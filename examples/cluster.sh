#!/usr/bin/env bash
# What a site runs, on one machine: three members of etcd with TLS, client certificates and users, and two of each
# gputel program. Any one of each may be killed.
#
#   examples/cluster.sh [CSV…]      (data/telemetry.csv, over and over)
#
# Ctrl-C ends it and leaves nothing behind. From the environment:
#   FOLDER      where certificates, passwords, databases, logs and the mounts fs-1 and fs-2 are (a temporary folder)
#   PORT        the first of eight TCP ports of etcd's members (23790)
#   BRIDGE      the first of two TCP ports of the bridges (8080)
#   GPUTEL_BIN  where the programs are (./bin)
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
bin=${GPUTEL_BIN:-$top/bin}
port=${PORT:-23790}
bridge=${BRIDGE:-8080}
folder=${FOLDER:-$(mktemp -d "${TMPDIR:-/tmp}/gputel-cluster.XXXXXX")}
(($#)) || set -- "$top/data/telemetry.csv"

mkdir -p "$folder"
pids=()

# start NAME COMMAND…: its output goes to FOLDER/NAME.log
start() {
	setsid "${@:2}" </dev/null >"$folder/$1.log" 2>&1 &
	pids+=($!)
}

clean_up() {
	trap '' INT TERM HUP
	local i
	# programs before etcd: the last that was started is the first to end
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill -TERM "${pids[i]}" 2>/dev/null || continue
		wait "${pids[i]}" 2>/dev/null || true
	done
	[ -n "${FOLDER:-}" ] || rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 0' INT TERM HUP

# until SECONDS COMMAND…: until it succeeds
until_it() {
	local end=$((SECONDS + $1))
	until "${@:2}" >/dev/null 2>&1; do
		((SECONDS < end)) || { echo "cluster: not within $1 s: ${*:2}" >&2; tail -n 5 "$folder"/*.log >&2; exit 1; }
		sleep 0.2
	done
}

# ---- etcd ----------------------------------------------------------------------------------------

"$top/examples/etcd/certificates.sh" "$folder/tls"
tls=$folder/tls members= endpoints=
for i in 0 1 2; do
	members+=${members:+,}etcd-$i=https://127.0.0.1:$((port + 2 * i + 1))
	endpoints+=${endpoints:+,}https://127.0.0.1:$((port + 2 * i))
done
# passwords are of 18 random bytes: guessing need not be made slow
for i in 0 1 2; do
	client=https://127.0.0.1:$((port + 2 * i)) peer=https://127.0.0.1:$((port + 2 * i + 1))
	start etcd-$i etcd --name etcd-$i --data-dir "$folder/etcd-$i" --logger=zap --log-level=warn \
		--listen-client-urls $client --advertise-client-urls $client \
		--listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster "$members" \
		--cert-file "$tls/server.pem" --key-file "$tls/server.key" --trusted-ca-file "$tls/ca.pem" \
		--client-cert-auth --peer-client-cert-auth --peer-trusted-ca-file "$tls/ca.pem" \
		--peer-cert-file "$tls/server.pem" --peer-key-file "$tls/server.key" \
		--quota-backend-bytes=8589934592 --snapshot-count=5000 --bcrypt-cost=4
done

export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$endpoints ETCDCTL_CACERT=$tls/ca.pem ETCDCTL_CERT=$tls/client.pem \
	ETCDCTL_KEY=$tls/client.key
until_it 60 etcdctl endpoint health
[ -e "$folder/users/root.env" ] || "$top/examples/etcd/users.sh" "$folder/users"

# ---- the programs ---------------------------------------------------------------------------------

export ETCD_ENDPOINTS=$endpoints ETCD_CACERT=$tls/ca.pem ETCD_CERT=$tls/client.pem ETCD_KEY=$tls/client.key \
	ETCD_MAINTENANCE=off

# program NAME NUMBER ARGUMENTS…: with its user's password, which no command line shows
program() {
	local -
	set -a
	. "$folder/users/$1.env"
	set +a
	start "$1-$2" "$bin/gputel-$1" --service-id "$1-$2" "${@:3}"
}

for n in 1 2; do
	mkdir -p "$folder/fs-$n"
	program collector $n
	program fs $n -f "$folder/fs-$n"
	program bridge $n --gateway-port $((bridge + n - 1))
done
for n in 1 2; do # of two with the same files one works, the other stands by
	program streamer $n --loop "${@/#/--csv=}"
done

for n in 1 2; do
	until_it 60 curl -sf "http://127.0.0.1:$((bridge + n - 1))/readyz"
	until_it 60 ls "$folder/fs-$n/.meta/revision"
done
echo "mounts: $folder/fs-1 $folder/fs-2"
echo "bridges: http://127.0.0.1:$bridge/ http://127.0.0.1:$((bridge + 1))/"
echo "etcd: source $folder/users/root.env for ETCD_USERNAME and ETCD_PASSWORD; certificates in $tls"
wait
