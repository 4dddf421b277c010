"""The page at /, in a real browser without internet: the fleet, live charts, the keyboard, a cut connection."""
from datetime import datetime, timezone

import pytest

from bridge import Bridge
from browser import CHROMIUM, Browser
from lib import wait_until
from rows import row, write_csv

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt-get install chromium-headless-shell)")
CHARTED = {"DCGM_FI_DEV_GPU_UTIL": 80, "DCGM_FI_DEV_FB_USED": 40000, "DCGM_FI_DEV_POWER_USAGE": 410.5,
           "DCGM_FI_DEV_GPU_TEMP": 61}


@pytest.fixture
def page(system, tmp_path):
    system.collector()
    system.bridge = Bridge(system)
    browser = Browser(tmp_path)
    browser.system, browser.folder = system, tmp_path
    yield browser
    browser.close()


def publish(page, seconds, hosts=3):
    now = datetime.now(timezone.utc)
    start = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows = [row(s, value=v + s % 5, metric=m, host=f"host-{h}", gpu=str(g), timestamp=None)
            for s in seconds for m, v in CHARTED.items() for h in range(hosts) for g in range(4)]
    for i, r in enumerate(rows):
        per_second = len(CHARTED) * hosts * 4
        r["timestamp"] = row(seconds[i // per_second])["timestamp"].replace("2025-07-18T20:42", start[:16])
    page.system.stream("--csv", write_csv(page.folder / f"{seconds[0]}.csv", rows), "--wait")


def output(metric):
    return f"document.querySelector('[data-metric={metric}] output').textContent"


def test_the_fleet_is_seen_and_a_gpu_opens_in_live_charts_by_keyboard(page, request):
    publish(page, range(0, 20))
    page.open(page.system.bridge.url + "/")
    page.until("document.querySelectorAll('.tile').length == 12")
    assert page.value("document.getElementById('summary').textContent").startswith("12 GPUs: 12 live")
    page.until("[...document.querySelectorAll('.tile')].every(t => /^8[0-4]$/.test(t.textContent))")
    page.value("document.querySelectorAll('.tile')[0].focus()")
    page.press("ArrowRight")
    page.press("Enter")
    page.until("location.hash == '#host-0/1' && document.querySelectorAll('canvas').length == 4")
    for metric in CHARTED:
        page.until(f"{output(metric)} != ''")
    page.until("document.getElementById('link').textContent == 'live'")
    publish(page, range(20, 24))
    page.until(f"{output('DCGM_FI_DEV_POWER_USAGE')} == '413.5 W'")
    page.screenshot(page.folder / "page.png")
    print("screenshot:", page.folder / "page.png")
    assert (page.folder / "page.png").stat().st_size > 20_000
    page.press("Escape")
    page.until("document.getElementById('gpu').hidden")
    assert page.value("document.getElementById('sign-in').offsetHeight") == 0
    assert not page.faults


def test_a_cut_connection_is_made_again_and_misses_nothing(page):
    publish(page, range(0, 4))
    page.open(page.system.bridge.url + "/#host-1/2")
    page.until("document.getElementById('link').textContent == 'live'")
    page.until("detail.charts.get('DCGM_FI_DEV_GPU_TEMP').points.length >= 2")
    page.value("detail.feed.socket.close(3000)")
    publish(page, range(10, 14))
    page.until("document.getElementById('link').textContent == 'live'")
    page.until("detail.charts.get('DCGM_FI_DEV_GPU_TEMP').points.length >= 4")
    points = page.value("detail.charts.get('DCGM_FI_DEV_GPU_TEMP').points.map(p => p.x % 60000 / 1000)")
    assert points == sorted(set(points)) and {0, 2, 10, 12} <= set(points)


def test_with_tokens_it_asks_for_one_and_shows_nothing_before(system, tmp_path):
    made = system.start("bridge", "--new-token", "viewer")
    assert made.wait(10) == 0
    token = next(w for w in made.out().split() if w.startswith("gputel_"))
    line = next(text[text.index("viewer "):] for text in made.out().splitlines() if "viewer " in text)
    (tmp_path / "tokens").write_text(line + "\n")
    system.collector()
    bridge = Bridge(system, GATEWAY_TOKENS_FILE=tmp_path / "tokens")
    browser = Browser(tmp_path)
    try:
        browser.system, browser.folder = system, tmp_path
        publish(browser, range(0, 2))
        browser.open(bridge.url + "/")
        browser.until("!document.getElementById('sign-in').hidden")
        assert browser.value("document.querySelectorAll('.tile').length") == 0
        browser.value(f"document.getElementById('token').value = '{token}'")
        browser.value("document.querySelector('#sign-in button').click()")
        browser.until("document.querySelectorAll('.tile').length == 12")
        browser.value("location.hash = '#host-0/0'")
        browser.until("document.getElementById('link').textContent == 'live'")
        alone = browser.value("new Promise(done => { const s = new WebSocket(location.origin.replace('http', 'ws') + "
                              f"'/api/v1/ws/telemetry', ['bearer.{token}']); "
                              "s.onmessage = () => done(s.protocol); s.onclose = () => done(null); })")
        assert alone == f"bearer.{token}"
    finally:
        browser.close()


def test_it_works_under_its_own_policy_and_from_this_origin_only(system):
    bridge = Bridge(system)
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"),
                       ("/chart.js", "text/javascript")):
        answer = bridge.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        again = bridge.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content
    text = bridge.get("/").text + bridge.get("/page.js").text + bridge.get("/page.css").text
    assert "http://" not in text and "https://" not in text
