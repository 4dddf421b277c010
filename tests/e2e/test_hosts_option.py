"""`-o host=GLOB`: a mount of some hosts shows these, and etcd sends it no more than these."""
import socket
import threading

import pytest

from lib import wait_until
from rows import Expected, fleet, row, wait_for_rows, write_csv


class Meter:
    """Passes connections on to etcd and counts what etcd sends."""

    def __init__(self, etcd):
        self.target = ("127.0.0.1", int(etcd.client.rsplit(":", 1)[1]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.bytes = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            threading.Thread(target=self.copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, True), daemon=True).start()

    def copy(self, source, sink, counted):
        try:
            while data := source.recv(65536):
                self.bytes += len(data) if counted else 0
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def hosts(mount):
    return {n for n in mount.names() if not n.startswith(".") and n != "README"}


def test_only_hosts_that_match_are_shown_and_status_says_so(system, tmp_path):
    system.collector()
    rows = [row(0, h, host=f"{p}-{h}") for p in ("ams", "fra") for h in range(3)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    some = system.mount("-o", "host=ams-*,host=fra-2")
    assert hosts(some) == {"ams-0", "ams-1", "ams-2", "fra-2"}
    assert some.status()["only_hosts"] == "ams-*,fra-2"
    assert len(some.names(".by-uuid")) == 4
    wild = system.mount("-o", "host=*-[01]")
    assert hosts(wild) == {"ams-0", "ams-1", "fra-0", "fra-1"}
    system.stream("--csv", write_csv(tmp_path / "b.csv", [row(5, 7, host=h) for h in ("ams-9", "fra-9", "ber-1")]), "--wait")
    wait_until(lambda: "ams-9" in hosts(some) and "ber-1" in hosts(wild), 30, "new hosts that match")
    assert hosts(some) == {"ams-0", "ams-1", "ams-2", "ams-9", "fra-2"}
    assert hosts(wild) == {"ams-0", "ams-1", "fra-0", "fra-1", "ber-1"}


def test_what_is_shown_is_whole_and_follows(system, tmp_path):
    system.collector()
    rows = list(fleet(4000, hosts=6))
    mount = system.mount("-o", "host=node-00[0-1]")
    for i in range(4):
        part = rows[i * 1000:(i + 1) * 1000]
        system.stream("--csv", write_csv(tmp_path / f"{i}.csv", part), "--wait")
    mine = [r for r in rows if r["Hostname"] in ("node-000", "node-001")]
    wait_for_rows(mount, Expected(mine))


def test_new_series_of_a_shown_gpu_appear(system, tmp_path):
    system.collector()
    mount = system.mount("-o", "host=host-1")
    rows = []
    for i in range(30):
        rows.append(row(i, i, metric=f"METRIC_{i}"))
        system.stream("--csv", write_csv(tmp_path / f"{i}.csv", rows[-1:]), "--wait")
        wait_until(lambda: mount.read(f"host-1/0/metrics/METRIC_{i}") == f"{i}\n", 30, "the new metric")
    wait_for_rows(mount, Expected(rows))


def test_etcd_sends_only_what_concerns_the_hosts(system, tmp_path):
    system.collector()
    meter, all_meter = Meter(system.etcd), Meter(system.etcd)
    some = system.mount("-o", "host=node-000", ETCD_ENDPOINTS=meter.address)
    everything = system.mount(ETCD_ENDPOINTS=all_meter.address)
    before, all_before = meter.bytes, all_meter.bytes
    rows = list(fleet(20000, hosts=20))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    wait_until(lambda: hosts(some) and len(hosts(everything)) == 20, 30, "the hosts")
    mine = [r for r in rows if r["Hostname"] == "node-000"]
    wait_for_rows(some, Expected(mine))
    wait_for_rows(everything, Expected(rows))
    assert meter.bytes - before < (all_meter.bytes - all_before) / 8


@pytest.mark.parametrize("option", ["host=", "host", "host=a/b"])
def test_what_no_host_can_be_called_is_an_error(system, tmp_path, option):
    folder = tmp_path / "m"
    folder.mkdir()
    process = system.start("fs", "-f", "-o", option, folder)
    assert process.wait() == 2
    assert "host" in process.log()
