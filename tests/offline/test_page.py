"""`v2m-engine vad --picture` in a real browser: what it draws is there, and a click plays.

The browser is `V2M_TEST_BROWSER`, or Chromium where it is installed; without one only what the
files themselves say is tested.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as xml
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

from rig import BINARY
from rig.speech import TEXTS, Talk

BROWSERS = ("chromium-headless-shell", "chromium", "chrome-headless-shell", "google-chrome")
SVG = "{http://www.w3.org/2000/svg}"

#: Looks at the page as a reader does, and tells the test.
VISIT = """
const told = {};
const wait = (what) => new Promise((done) => {
  const look = () => what() ? done() : setTimeout(look, 20);
  look();
});
const played = async () => {
  await wait(() => !player.paused && player.currentTime > 0);
  const begun = player.currentTime;
  await wait(() => player.paused);
  return [begun, player.currentTime];
};
(async () => {
  const figures = [...document.querySelectorAll("figure")];
  const images = figures.map((figure) => figure.querySelector("img"));
  images.forEach((image) => { image.loading = "eager"; });
  await wait(() => images.every((image) => image.complete));
  told.drawn = images.map((image) => image.naturalWidth > 0);
  const [from, to] = JSON.parse(figures[0].dataset.speech)[1];
  const box = images[0].getBoundingClientRect();
  const share = (from + to) / 2 / Number(figures[0].dataset.duration);
  const x = box.left + box.width * (LEFT + share * (RIGHT - LEFT)) / WIDTH;
  images[0].dispatchEvent(new MouseEvent("click", { clientX: x, bubbles: true }));
  told.picture = await played();
  figures[0].querySelector("details").open = true;
  figures[0].querySelectorAll("button")[0].click();
  told.button = await played();
  told.source = player.getAttribute("src");
  told.dark = getComputedStyle(document.documentElement).colorScheme;
})().catch((error) => { told.error = String(error); })
  .finally(() => fetch("/told?" + new URLSearchParams({ told: JSON.stringify(told) })));
"""


class Figures(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: list[dict[str, str]] = []
        self.images: list[dict[str, str]] = []
        self.buttons = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "figure":
            self.figures.append(named)
        elif tag == "img":
            self.images.append(named)
        elif tag == "button":
            self.buttons += 1


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Recordings with awkward names, and what the command makes of them."""
    (tmp_path / "in").mkdir()
    Talk(tmp_path / 'in/50% "a&b" <i>\'#1.wav', texts=TEXTS[:2], snr=30)
    Talk(tmp_path / "in/b.wav", texts=TEXTS[2:3])
    (tmp_path / "in/c.wav").write_text("no audio")
    command = [BINARY, "vad", "in", "--picture", "pictures", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 1
    return tmp_path


def test_pictures_show_what_was_found(site: Path) -> None:
    folder = site / "pictures"
    page = (folder / "index.html").read_text()
    found = Figures(page)
    assert len(found.figures) == len(found.images) == 2
    assert found.buttons == sum(len(json.loads(f["data-speech"])) for f in found.figures) == 3
    assert 'class="error">' in page and "c.wav" in page
    for figure, image in zip(found.figures, found.images, strict=True):
        assert (folder / unquote(figure["data-audio"])).is_file()
        drawn = folder / unquote(image["src"])
        picture = xml.parse(drawn).getroot()
        stretches = [r for r in picture.iter(f"{SVG}rect") if r.get("class") == "speech"]
        times = json.loads(figure["data-speech"])
        assert len(stretches) == len(times)
        scale = 950 / float(figure["data-duration"])
        for rect, (start, end) in zip(stretches, times, strict=True):
            assert abs(float(rect.get("x", "")) - 40 - start * scale) < 0.02
            assert abs(float(rect.get("width", "")) - (end - start) * scale) < 0.02
        style = picture.find(f"{SVG}style")
        assert style is not None and style.text
        assert "prefers-color-scheme: dark" in style.text and "@media print" in style.text
        paths = {p.get("class"): p.get("d", "") for p in picture.iter(f"{SVG}path")}
        assert paths["wave"].count("M") == 950
        assert paths["curve"].startswith("M") and paths["curve"].count("L") > 100
        lines = [line.get("class") for line in picture.iter(f"{SVG}line")]
        assert "threshold" in lines


class Site(SimpleHTTPRequestHandler):
    """The folder, with a visitor in its page."""

    told: queue.Queue[Any]

    def do_GET(self) -> None:
        address = urlparse(self.path)
        if address.path == "/told":
            self.told.put(json.loads(parse_qs(address.query)["told"][0]))
            content = b""
        elif address.path.endswith("/index.html"):
            page = Path(self.translate_path(self.path)).read_text()
            script = VISIT.replace("LEFT", "40").replace("RIGHT", "990").replace("WIDTH", "1000")
            content = page.replace("</html>", f"<script>{script}</script></html>").encode()
        elif wanted := re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", "")):
            # A player jumps about in a file.
            whole = Path(self.translate_path(self.path)).read_bytes()
            begin, end = int(wanted[1]), int(wanted[2] or len(whole) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(whole)}")
            self.send_header("Content-Length", str(end + 1 - begin))
            self.end_headers()
            self.wfile.write(whole[begin : end + 1])
            return
        else:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def browser() -> str | None:
    wanted = os.environ.get("V2M_TEST_BROWSER")
    found = (shutil.which(name) for name in ([wanted] if wanted else BROWSERS))
    return next((path for path in found if path), None)


@pytest.mark.skipif(browser() is None, reason="no browser: apt install chromium-headless-shell")
def test_a_click_plays_the_stretch(site: Path, tmp_path: Path) -> None:
    told: queue.Queue[Any] = queue.Queue()
    handler = type("Handler", (Site,), {"told": told})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        str(browser()),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--remote-debugging-port=0",  # stays open
        f"http://127.0.0.1:{server.server_port}/pictures/index.html",
    ]
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        result = told.get(timeout=90)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
    assert "error" not in result, result
    page = Figures((site / "pictures/index.html").read_text())
    first, second = json.loads(page.figures[0]["data-speech"])
    assert result["drawn"] == [True, True]
    assert result["source"] == page.figures[0]["data-audio"]
    # It begins where the stretch does, and stops at its end (within a report of the time).
    for (begun, ended), (start, end) in ((result["picture"], second), (result["button"], first)):
        assert start <= begun < end and end <= ended < end + 1.5
