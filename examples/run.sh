#!/usr/bin/env bash
# The whole system on this machine: what `make run` starts.
#
#   etcd ◄─ gputel-streamer --csv data/telemetry.csv --loop --speed 15
#    ├────► gputel-collector
#    ├────► gputel-fs  ./mnt/<host>/<gpu>/…
#    └────► gputel-bridge  http://127.0.0.1:8080/api/v1/…
#
# Ctrl-C ends it and leaves nothing behind. From the environment:
#   MOUNT            where the tree appears (./mnt)
#   CSV              what is streamed, over and over (data/telemetry.csv)
#   ETCD_ENDPOINTS   an etcd that runs already; without it a private one lives as long as this does
#   GATEWAY_PORT     of the bridge (8080, or another where that is taken)
#   GPUTEL_BIN       where the programs are (./bin)
# and every variable that the programs themselves know (LOG_LEVEL, SEGMENT, GPUTEL_PREFIX, …).
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
mount=$(realpath -m "${MOUNT:-mnt}")
csv=${CSV:-$top/data/telemetry.csv}
bin=${GPUTEL_BIN:-$top/bin}
ready_s=60 # how long the first value may take

work=$(mktemp -d "${TMPDIR:-/tmp}/gputel-run.XXXXXX")
made_mount=
declare -A pid=()

mounted() { grep -qF " ${mount// /\\040} " /proc/self/mountinfo; }

# start NAME PROGRAM [ARGUMENT…]: its output goes to $work/NAME.log. A session of its own keeps the
# terminal's Ctrl-C from it: this script ends its children in order.
start() {
	local name=$1
	shift
	setsid "$@" </dev/null >"$work/$name.log" 2>&1 &
	pid[$name]=$!
}

# stop NAME: asks, waits for 10 s, insists.
stop() {
	local p=${pid[$1]:-} tenths=0
	[ -n "$p" ] || return 0
	unset "pid[$1]"
	kill -TERM "$p" 2>/dev/null || true
	while kill -0 "$p" 2>/dev/null; do
		if ((++tenths > 100)); then
			echo "$1 does not end; killing it" >&2
			kill -KILL "$p" 2>/dev/null || true
			break
		fi
		sleep 0.1
	done
	wait "$p" 2>/dev/null || true
}

clean_up() {
	trap '' INT TERM HUP
	[ -t 1 ] && echo
	stop streamer
	stop collector
	stop bridge
	stop fs
	if mounted; then fusermount3 -uz "$mount" 2>/dev/null || umount -l "$mount" || true; fi
	stop etcd
	[ -z "$made_mount" ] || rmdir "$mount" || true
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 0' INT TERM HUP PIPE

die() {
	echo "run: $1" >&2
	[ -z "${2:-}" ] || { echo "--- the end of $2's log:" && tail -n 15 "$work/$2.log"; } >&2
	exit 1
}

alive() {
	local name
	for name in "${!pid[@]}"; do
		kill -0 "${pid[$name]}" 2>/dev/null || die "$name has ended" "$name"
	done
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Ports below the range that the kernel gives away, and nobody answers there.
free_port() {
	local p
	while p=$((20000 + RANDOM % 12000)); do
		taken "$p" || break
	done
	echo "$p"
}

private_etcd() {
	local client peer
	client=http://127.0.0.1:$(free_port)
	peer=http://127.0.0.1:$(free_port)
	start etcd etcd --name gputel --data-dir "$work/etcd" \
		--listen-client-urls "$client" --advertise-client-urls "$client" \
		--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
		--initial-cluster "gputel=$peer" \
		--quota-backend-bytes=8589934592 --snapshot-count=5000 \
		--auto-compaction-mode=periodic --auto-compaction-retention=1m \
		--logger=zap --log-level=warn
	export ETCD_ENDPOINTS=$client
}

# No $(…) from here on where a signal may come in: bash 5.2 can stumble over a trap inside one.
first_value() {
	local found=("$mount"/*/*/metrics/DCGM_FI_DEV_GPU_UTIL)
	value=${found[0]}
	cat "$value" >/dev/null 2>&1
}

progress() {
	printf '%(%T)T  ' -1
	awk -F= '{ v[$1] = $2 }
		END { printf "%d rows published, %d stored, %d messages queued, etcd %s",
		      v["rows_published"], v["rows_stored"], v["queue_depth"], v["etcd"] }' "$mount/.meta/status" || true
}

for program in streamer collector fs bridge; do
	[ -x "$bin/gputel-$program" ] || die "$bin/gputel-$program is missing: run make first"
done
[ -r "$csv" ] || die "cannot read $csv"
[ -c /dev/fuse ] || die "/dev/fuse is missing: a container needs --device /dev/fuse --cap-add SYS_ADMIN"
if mounted && timeout 2 ls "$mount" >/dev/null 2>&1; then die "$mount is mounted already"; fi
if ! mounted && [ ! -d "$mount" ]; then mkdir -p "$mount" && made_mount=1; fi

[ -n "${ETCD_ENDPOINTS:-}" ] || private_etcd
if [ -z "${GATEWAY_PORT:-}" ] && taken 8080; then GATEWAY_PORT=$(free_port); fi
export GATEWAY_PORT=${GATEWAY_PORT:-8080}
start collector "$bin/gputel-collector"
start fs "$bin/gputel-fs" -f "$mount"
start bridge "$bin/gputel-bridge"
start streamer "$bin/gputel-streamer" --csv "$csv" --loop --speed 15 # a scrape a second

echo "starting (etcd at $ETCD_ENDPOINTS) …"
until mounted && first_value; do
	alive
	if ((SECONDS > ready_s)); then
		for name in "${!pid[@]}"; do echo "--- $name" && tail -n 5 "$work/$name.log"; done >&2
		die "no value after $ready_s s"
	fi
	sleep 0.1
done

gpu=${value%/metrics/*}
cat <<TRY

The tree is live at $mount. In another shell:
  cat $value
  tail -F $gpu/telemetry.csv
  watch -n 1 cat $gpu/stat
  grep . $mount/*/*/metrics/DCGM_FI_DEV_GPU_TEMP
  cat $mount/README
  curl http://127.0.0.1:$GATEWAY_PORT/api/v1/fs/${gpu#"$mount"/}/stat
  curl 'http://127.0.0.1:$GATEWAY_PORT/api/v1/gpus/0/telemetry?start_time=now-1m&limit=3'
Ctrl-C here ends it all.

TRY

next=0
while alive; do
	if [ -t 1 ]; then
		printf '\r'
		progress
		printf '\033[K'
	elif ((SECONDS >= next)); then
		progress
		echo
		next=$((SECONDS + 10))
	fi
	sleep 0.5
done
