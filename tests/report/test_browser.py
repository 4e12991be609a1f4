"""The report in a real browser, where one is installed: no script errors, a surface that turns, a still one without."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from oracles.averages import full_average

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
