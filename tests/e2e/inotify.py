"""inotify through libc, so that every event and its time can be seen."""
import ctypes
import os
import select
import struct
import time

from lib import wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
MODIFY, ATTRIB, CREATE, DELETE, DELETE_SELF, ISDIR, IGNORED = 0x2, 0x4, 0x100, 0x200, 0x400, 0x40000000, 0x8000
CONTENT = MODIFY | CREATE | DELETE | DELETE_SELF | ATTRIB
NAMES = {MODIFY: "MODIFY", ATTRIB: "ATTRIB", CREATE: "CREATE", DELETE: "DELETE", DELETE_SELF: "DELETE_SELF",
         IGNORED: "IGNORED"}


class Watch:
    """Watches paths and keeps what it was told as (path, kind, name, time)."""

    def __init__(self, *paths, mask=CONTENT):
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.paths, self.seen = {}, []
        for path in paths:
            self.add(path, mask)

    def add(self, path, mask=CONTENT):
        wd = LIBC.inotify_add_watch(self.fd, os.fsencode(path), mask)
        if wd < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
        self.paths[wd] = path

    def read(self, seconds=0.0):
        """Takes in what is there, waiting so long for something."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return self
        now = time.monotonic()
        try:
            data = os.read(self.fd, 1 << 20)
        except BlockingIOError:
            return self
        while data:
            wd, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16:16 + length].rstrip(b"\0").decode()
            self.seen.append((self.paths.get(wd), NAMES.get(mask & ~ISDIR, hex(mask)), name, now))
            data = data[16 + length:]
        return self

    def events(self):
        """(kind, name) of everything so far."""
        self.read()
        return [(kind, name) for _, kind, name, _ in self.seen]

    def clear(self):
        self.read()
        self.seen.clear()

    def wait(self, kind, name="", seconds=30):
        """Waits until there was such an event."""
        wait_until(lambda: (kind, name) in self.events(), seconds, f"{kind} {name}")

    def close(self):
        os.close(self.fd)
