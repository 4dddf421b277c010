#!/usr/bin/env python3
"""How busy each GPU was, minute by minute, with pandas: straight from the files of the mount.

    examples/busy_hours.py /mnt/gputel
"""
import sys
from pathlib import Path

import pandas


def busy(folder):
    """Mean utilisation a minute of one GPU's newest segment, as a series."""
    rows = pandas.read_csv(folder / "telemetry.csv", usecols=["timestamp", "metric_name", "value"])
    rows = rows[rows.metric_name == "DCGM_FI_DEV_GPU_UTIL"]
    values = pandas.to_numeric(rows.value)
    values.index = pandas.to_datetime(rows.timestamp, format="ISO8601" if pandas.__version__ >= "2" else None)
    return values.resample("1min").mean()


def main(mount):
    table = pandas.DataFrame({f"{f.parent.name}/{f.name}": busy(f) for f in sorted(Path(mount).glob("[!.]*/[0-9]*"))})
    print(table.round(1).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
