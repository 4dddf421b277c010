"""Input that is wrong, or unusual but right: each file of data/edge does what is said here of it."""
import os
import re
from types import SimpleNamespace

import pytest

from lib import EDGE, System, wait_until
from rows import encode, parse_rows, row, write_csv

LONE = {"DCGM_FI_DEV_GPU_UTIL"}


@pytest.fixture(scope="module")
def shop(etcd, tmp_path_factory):
    """One system for all files; each has a host of its own."""
    system = System(etcd, tmp_path_factory.mktemp("edge"))
    try:
        system.collector()
        yield SimpleNamespace(system=system, mount=system.mount())
    finally:
        system.close()


def history(mount, gpu):
    got = []
    for name in mount.names(f"{gpu}/history"):
        got += parse_rows(mount.read(f"{gpu}/history/{name}"))
    return got


def publish(shop, name, status=0):
    return shop.system.stream("--csv", EDGE / name, "--wait", status=status)


def values(shop, gpu, n):
    """The values of a GPU's n rows in order."""
    wait_until(lambda: len(history(shop.mount, gpu)) >= n, 30, f"{n} rows of {gpu}")
    return [r[2] for r in history(shop.mount, gpu)]


@pytest.mark.parametrize("name, says", [
    ("empty.csv", "empty"), ("binary.csv", r"binary|text|header|column"), ("no_header.csv", r"header|column"),
    ("missing_column.csv", "value"),
])
def test_a_file_without_rows_to_find_is_an_error_that_names_it(shop, name, says):
    run = publish(shop, name, status=1)
    assert re.search(rf"{re.escape(name)}.*({says})", run.log), run.log
    assert run.published == 0


def test_a_bad_file_does_not_keep_the_others_from_being_published(shop, tmp_path):
    good = write_csv(tmp_path / "good.csv", [row(host="edge-beside", value="7")])
    run = shop.system.stream("--csv", EDGE / "binary.csv", "--csv", good, "--wait", status=1)
    assert run.published == 1
    assert values(shop, "edge-beside/0", 1) == ["7"]


def test_a_header_alone_is_no_row_and_no_error(shop):
    run = publish(shop, "header_only.csv")
    assert (run.rows, run.messages) == (0, 0)


@pytest.mark.parametrize("name, host, expected", [
    ("no_trailing_newline.csv", "edge-01", ["11", "12"]),
    ("crlf.csv", "edge-crlf", ["21", "22"]),
    ("bom.csv", "edge-bom", ["31", "32"]),
    ("reordered.csv", "edge-order", ["131", "132"]),
    ("duplicates.csv", "edge-twice", ["161", "161", "161", "162"]),
])
def test_other_forms_of_the_same_are_read(shop, name, host, expected):
    run = publish(shop, name)
    assert (run.rows, run.published) == (len(expected), len(expected))
    assert values(shop, f"{host}/0", len(expected)) == expected
    assert shop.mount.read(f"{host}/0/metrics/DCGM_FI_DEV_GPU_UTIL") == expected[-1] + "\n"


@pytest.mark.parametrize("name, host, expected, bad_lines", [
    ("bad_times.csv", "edge-times", ["71", "72"], range(3, 13)),
    ("bad_values.csv", "edge-values", ["81", "82"], range(3, 12)),
    ("ragged.csv", "edge-ragged", ["41", "43", "45"], [3, 5]),
    ("stray_quote.csv", "edge-stray", ["61", "63"], [3]),
    ("unclosed_quote.csv", "edge-quote", ["51", "52"], [4]),
])
def test_bad_rows_are_logged_with_line_and_column_and_good_rows_arrive(shop, name, host, expected, bad_lines):
    run = publish(shop, name)
    assert (run.published, run.invalid) == (len(expected), len(bad_lines)), run.log
    for line in bad_lines:
        assert re.search(rf"{re.escape(name)}:{line}:\d+: \S", run.log), f"line {line}:\n{run.log}"
    assert values(shop, f"{host}/0", len(expected)) == expected


def test_the_column_is_where_the_bad_field_is(shop, tmp_path):
    file = write_csv(tmp_path / "column.csv", [row(0, 1, host="edge-column"), row(1, "abc", host="edge-column")])
    log = shop.system.stream("--csv", file, "--wait").log
    column = file.read_text().splitlines()[2].index("abc") + 1
    assert re.search(rf"column\.csv:3:{column}: value: .*abc", log), (column, log)


def test_no_value_is_counted_and_leaves_the_latest_alone(shop):
    run = publish(shop, "no_values.csv")
    assert (run.rows, run.published, run.no_value, run.invalid) == (10, 1, 9, 0), run.log
    assert values(shop, "edge-none/0", 1) == ["91"]
    assert shop.mount.read("edge-none/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "91\n"


def test_values_come_back_as_they_were_written(shop):
    texts = ["87", "-0", "0.0", "67.351000", "117.77", "7e-06", "1E+3", "00012", "18446744073709551616",
             "0.1234567890123456789"]
    assert publish(shop, "value_texts.csv").published == len(texts)
    assert values(shop, "edge-texts/0", len(texts)) == texts
    for i, text in enumerate(texts):
        assert shop.mount.read(f"edge-texts/0/metrics/TEXT_{i}") == text + "\n"


def test_every_form_of_time_is_shown_as_rfc_3339_with_its_digits(shop):
    expected = {"EPOCH": "2025-07-18T20:42:01Z", "EPOCH_FRACTION": "2025-07-18T20:42:02.250Z",
                "BLANK": "2025-07-18T20:42:03Z", "FRACTION": "2025-07-18T20:42:04.500Z",
                "OFFSET": "2025-07-18T20:42:05Z", "NANOSECONDS": "2025-07-18T20:42:06.123456789Z"}
    assert publish(shop, "times.csv").published == len(expected)
    values(shop, "edge-forms/0", len(expected))
    assert {r[1]: r[0] for r in history(shop.mount, "edge-forms/0")} == expected


def test_a_line_break_in_a_field_is_part_of_it_and_counted_as_a_line(shop):
    run = publish(shop, "quoted_newline.csv")
    assert (run.published, run.invalid) == (2, 1)
    assert re.search(r"quoted_newline\.csv:4:\d+: ", run.log), run.log
    values(shop, "edge-newline/0", 2)
    first = history(shop.mount, "edge-newline/0")[0]
    assert first[4:7] == ("a,b", "two\nlines", 'say "hi"')


def test_hostile_names_become_encoded_names_in_their_place(shop):
    run = publish(shop, "hostile_names.csv")
    assert (run.published, run.invalid) == (7, 1), run.log
    assert re.search(r"hostile_names\.csv:9:\d+: ", run.log), "the name of 300 bytes"
    metrics = {"../x": "101", "..": "102", "a/b c": "103", "größe": "106", "50%": "107"}
    values(shop, "edge-names/0", len(metrics))
    assert shop.mount.names("edge-names/0/metrics") == sorted(encode(m) for m in metrics)
    for metric, value in metrics.items():
        assert shop.mount.read(f"edge-names/0/metrics/{encode(metric)}") == value + "\n"
    assert {r[1] for r in history(shop.mount, "edge-names/0")} == set(metrics), "row files have the names as they are"
    assert shop.mount.read("edge-names/%2E.%2F1/metrics/DCGM_FI_DEV_GPU_UTIL") == "104\n"
    wait_until(lambda: "%2E.%2F..%2Fetc" in shop.mount.names(), 30, "the host ../../etc")
    assert set(os.listdir(shop.mount.path)) >= {"edge-names", "%2E.%2F..%2Fetc"}


def test_differing_labels_make_series_of_their_own(shop):
    assert publish(shop, "labels.csv").published == 3
    values(shop, "edge-links/0", 3)
    metric = "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL"
    assert shop.mount.names("edge-links/0/metrics") == [f'{metric}{{link="0"}}', f'{metric}{{link="1"}}']
    assert shop.mount.read(f'edge-links/0/metrics/{metric}{{link="0"}}') == "123\n"
    assert shop.mount.read(f'edge-links/0/metrics/{metric}{{link="1"}}') == "122\n"
    assert [r[7] for r in history(shop.mount, "edge-links/0")] == ['link="0"', 'link="1"', 'link="0"']


def test_mig_instances_are_gpus_of_their_own(shop):
    assert publish(shop, "mig.csv").published == 4
    assert values(shop, "edge-mig/0", 1) == ["3"]
    assert values(shop, "edge-mig/0.1", 2) == ["111", "113"]
    assert values(shop, "edge-mig/0.2", 1) == ["112"]
    assert set(shop.mount.names("edge-mig")) >= {"0", "0.1", "0.2"}
    assert set(shop.mount.names("edge-mig/0.1/metrics")) == LONE


def test_a_field_of_ten_mebibytes_is_one_invalid_row(shop, tmp_path):
    rows = [row(i, i, host="edge-large") for i in range(4)]
    rows[1]["pod"] = "x" * (10 << 20)
    rows[2]["value"] = "9" * (10 << 20)
    streamer = shop.system.streamer("--csv", write_csv(tmp_path / "large.csv", rows), "--wait")
    assert streamer.wait() == 0
    assert "rows=4 published=2 duplicate=0 no_value=0 invalid=2 " in streamer.out()
    for line in (3, 4):
        assert re.search(rf"large\.csv:{line}:\d+: ", streamer.log())
    assert len(streamer.log()) < 100_000, "the log repeats the field"
    assert values(shop, "edge-large/0", 2) == ["0", "3"]


def test_an_unclosed_quote_swallows_no_memory(shop, tmp_path):
    file = write_csv(tmp_path / "quote.csv", [row(0, 1, host="edge-open")])
    with open(file, "a") as f:
        f.write('"2025-07-18T20:42:34Z","never closed\n')
        f.writelines("filler line of a large file\n" for _ in range(400_000))
    run = shop.system.stream("--csv", file, "--wait")
    assert run.published == 1 and run.invalid >= 1
    assert re.search(r"quote\.csv:3:\d+: ", run.log), run.log[-2000:]


def test_a_needed_field_that_is_blank_makes_the_row_invalid(shop, tmp_path):
    rows = [row(i, i, host="edge-blank") for i in range(5)]
    for i, column in ((1, "metric_name"), (2, "gpu_id"), (3, "Hostname")):
        rows[i][column] = ""
    run = shop.system.stream("--csv", write_csv(tmp_path / "blank.csv", rows), "--wait")
    assert (run.published, run.invalid) == (2, 3)
    assert [re.search(rf"blank\.csv:{n}:\d+: (\w+)", run.log)[1].lower() for n in (3, 4, 5)] \
        == ["metric_name", "gpu_id", "hostname"]
    assert values(shop, "edge-blank/0", 2) == ["0", "4"]


def test_bad_labels_make_the_row_invalid_or_are_told(shop, tmp_path):
    rows = [row(0, 1, host="edge-badlabels"), row(1, 2, host="edge-badlabels", labels='link="0'),
            row(2, 3, host="edge-badlabels")]
    run = shop.system.stream("--csv", write_csv(tmp_path / "badlabels.csv", rows), "--wait")
    assert re.search(r"badlabels\.csv:3:\d+: ", run.log)
    assert values(shop, "edge-badlabels/0", 2)[-1] == "3"


def test_bytes_that_are_not_utf_8_do_no_harm(shop, tmp_path):
    file = write_csv(tmp_path / "bytes.csv", [row(0, 1, host="edge-bytes"), row(1, 2, host="edge-bytes")])
    file.write_bytes(file.read_bytes().replace(b"H100", b"H\xff\xfe0", 1))
    run = shop.system.stream("--csv", file, "--wait")
    assert run.published + run.invalid == 2 and run.published >= 1
    assert "2" in values(shop, "edge-bytes/0", run.published)
