"""The report in a real browser, where one is installed: no script errors, a surface that turns, a still one without."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import torch
from oracles.averages import full_average

import gumnet
from gumnet.report.average import map_section
from gumnet.report.page import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)
# What a user would do: keys and buttons. Each step writes what the canvas shows.
ACTIONS = """<script>
const canvas = document.querySelector("canvas"), seen = [];
const acts = ["ArrowRight", "ArrowLeft", "ArrowDown", "+", "Home"].map((key) => () =>
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true })));
acts.push(() => document.querySelectorAll("button[data-mesh]")[1].click());
acts.push(() => document.querySelector("button[data-act=closer]").click());
const record = () => {
  seen.push(canvas.dataset.view);
  document.body.dataset.seen = seen.join("|");
  document.body.dataset.beyond = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const gl = canvas.getContext("webgl"), pixels = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  document.body.dataset.drawn = pixels.filter((value, i) => i % 4 === 3 && value > 0).length / (pixels.length / 4);
};
(async () => { record(); for (const act of acts) { act(); await null; record(); } })();
</script></body>"""


# Browsers without a screen draw few frames: here each comes at once.
FRAMES = "<body><script>window.requestAnimationFrame = (draw) => { queueMicrotask(draw); return 0; };</script>"


def opened(path: Path, profile: Path, *switches: str) -> tuple[str, list[str]]:
    """Return a page as the browser leaves it after its scripts ran, and what its console says."""
    assert BROWSER is not None
    command = [BROWSER, *SWITCHES, f"--user-data-dir={profile}", *switches, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    # The canvas is read here, which WebGL calls slow.
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    return done.stdout, said


@pytest.fixture(scope="module")
def html() -> str:
    section = map_section(full_average(torch.Generator().manual_seed(2)))
    return page("Average", "24 particles.", [], [section])


def test_the_surface_turns_with_keys_and_buttons_and_nothing_fails(html: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    # The policy of the page would refuse the script of this test.
    freed = re.sub("<meta http-equiv[^>]*>", "", html)
    path.write_text(freed.replace("<body>", FRAMES).replace("</body>", ACTIONS), encoding="utf-8")
    dom, log = opened(path, tmp_path / "profile", "--enable-unsafe-swiftshader", "--window-size=400,800")
    if 'data-state="ready"' not in dom:
        pytest.skip("this Chromium has no WebGL")
    assert log == []
    found = re.search('data-seen="([^"]*)"', dom)
    assert found is not None
    first, right, back, down, closer, home, other, button = found[1].split("|")
    assert first == back == home == other, "keys undo each other, and another level keeps the view"
    assert len({first, right, down, closer, button}) == 5
    drawn = re.search('data-drawn="([^"]*)"', dom)
    assert drawn is not None
    assert 0.01 < float(drawn[1]) < 0.9, "something is on the canvas, and not all over"
    assert 'data-beyond="0"' in dom, "a small screen need not scroll sideways"
    assert re.search('aria-pressed="true"[^>]*>level', dom)


def test_the_policy_lets_the_script_run_and_without_webgl_the_still_picture_stays(html: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    dom, log = opened(path, tmp_path / "profile", "--disable-3d-apis")
    assert log == []
    assert re.search('<figure class="viewer" hidden', dom)
    assert '<div class="still">' in dom


# What a reader can reach with the Tab key, what it is called, and whether anything goes beyond the screen.
LOOK = """<script>
const wide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
const name = (each) => each.getAttribute("aria-label") || each.textContent.trim();
const all = (what) => [...document.querySelectorAll(what)].filter((each) => each.checkVisibility());
const reached = () => all("*").filter((each) => each.tabIndex >= 0);
const folded = reached().length, before = wide();
document.querySelectorAll("details").forEach((each) => { each.open = true; });
const kinds = new Set(reached().map((each) => each.localName));
document.body.dataset.look = JSON.stringify({
  beyond: [before, wide()], kinds: [...kinds].sort(), more: reached().length > folded,
  nameless: reached().filter((each) => !name(each)).map((each) => each.outerHTML.slice(0, 80)),
  pictures: document.querySelectorAll("svg").length,
  told: document.querySelectorAll("svg[role=img][aria-label]").length,
  low: all("button").filter((each) => each.offsetHeight < 24).length,
  scrolls: all("*").filter((each) => each.scrollWidth > each.clientWidth + 1
    && getComputedStyle(each).overflowX === "auto" && !each.hasAttribute("tabindex")).map((each) => each.localName),
});
</script></body>"""


def test_a_whole_report_on_a_small_screen_is_reached_with_the_keyboard(
    written: tuple[gumnet.Average, Path], tmp_path: Path
) -> None:
    html = (written[1] / "report.html").read_text(encoding="utf-8")
    path = tmp_path / "page.html"
    path.write_text(re.sub("<meta http-equiv[^>]*>", "", html).replace("</body>", LOOK), encoding="utf-8")
    dom, log = opened(path, tmp_path / "profile", "--enable-unsafe-swiftshader", "--window-size=390,800")
    assert log == []
    found = re.search('data-look="([^"]*)"', dom)
    assert found is not None
    look = json.loads(unescape(found[1]))
    assert look["beyond"] == [0, 0], "nothing goes beyond the screen, nor when tables are unfolded"
    assert {"summary", "div"} <= set(look["kinds"])
    assert look["more"], "unfolded tables can be scrolled with the keys"
    assert look["nameless"] == []
    assert look["scrolls"] == [], "what scrolls can be reached"
    assert look["pictures"] == look["told"] > 10
    assert look["low"] == 0, "buttons are large enough for a finger"


def test_a_whole_report_breaks_no_rule_of_its_own_policy(written: tuple[gumnet.Average, Path], tmp_path: Path) -> None:
    path = written[1] / "report.html"
    assert path.stat().st_size < 8_000_000
    dom, log = opened(path, tmp_path / "profile", "--enable-unsafe-swiftshader", "--window-size=390,800")
    assert log == []
    assert dom.count("<h2>") >= 7
