"""What running processes use: CPU seconds and peak memory, from /proc."""
import os
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class Usage:
    """Of named processes, looked at ten times a second, so that it is known also of those that end."""

    def __init__(self, **pids):
        self.pids = dict(pids)
        self.cpu = {name: 0.0 for name in pids}
        self.peak = {name: 0 for name in pids}
        self.begun = {name: self._cpu(pid) for name, pid in pids.items()}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def add(self, name, pid):
        self.begun[name], self.cpu[name], self.peak[name] = 0.0, 0.0, 0
        self.pids[name] = pid

    @staticmethod
    def _cpu(pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @staticmethod
    def _peak(pid):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def look(self):
        for name, pid in list(self.pids.items()):
            try:
                self.cpu[name] = max(self.cpu[name], self._cpu(pid) - self.begun[name])
                self.peak[name] = max(self.peak[name], self._peak(pid))
            except OSError:
                pass  # it has ended: the last look counts, or took()

    def took(self, name, seconds):
        """The whole of a process that has ended, as its parent was told."""
        del self.pids[name]
        self.cpu[name] = seconds

    def _run(self):
        while not self.stopped.wait(0.1):
            self.look()

    def close(self):
        self.stopped.set()
        self.thread.join()

    def so_far(self):
        self.look()
        return dict(self.cpu)


class Clock:
    def __init__(self):
        self.begun = time.monotonic()

    def __call__(self):
        return time.monotonic() - self.begun
