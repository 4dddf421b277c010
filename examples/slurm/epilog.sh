#!/bin/sh
# A Slurm epilog (slurm.conf: Epilog=…) that keeps the telemetry of a job's GPUs beside the job's output: files of the
# mount, by cp. From Slurm: SLURM_JOB_ID, SLURM_JOB_GPUS, SLURM_JOB_START_TIME (epoch seconds), SLURMD_NODENAME; from the
# site: GPUTEL (/mnt/gputel) and KEEP (/var/spool/gputel-jobs).
set -eu

mount=${GPUTEL:-/mnt/gputel}
keep=${KEEP:-/var/spool/gputel-jobs}/$SLURM_JOB_ID
host=$mount/${SLURMD_NODENAME:-$(hostname)}

# An epilog that fails drains the node: no telemetry is no reason for that.
if ! ls "$host" >/dev/null 2>&1 || [ -z "${SLURM_JOB_GPUS:-}" ]; then
	exit 0
fi
mkdir -p "$keep"
for gpu in $(echo "$SLURM_JOB_GPUS" | tr ',' ' '); do
	mkdir -p "$keep/$gpu"
	for segment in "$host/$gpu"/history/*.csv; do
		# its mtime is the time of its newest sample
		if [ "$(stat -c %Y "$segment")" -ge "${SLURM_JOB_START_TIME:-0}" ]; then
			cp -p "$segment" "$keep/$gpu/"
		fi
	done
	cp -p "$host/$gpu/info.json" "$host/$gpu/stat" "$keep/$gpu/"
done
