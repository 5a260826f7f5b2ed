"""`v2m-engine vad --picture` in a real browser: what it draws can be seen by day, by night and on
paper, and a click plays.

The browser is `V2M_TEST_BROWSER`, or Chromium where it is installed; without one only what the
files themselves say is tested. It opens the page from the disk, as people do, and its mouse is
moved by Chromium's own protocol, so that it believes in a hand.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import urllib.request
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from rig import BINARY, wait_until
from rig.speech import TEXTS, Talk

BROWSERS = ("chromium-headless-shell", "chromium", "chrome-headless-shell", "google-chrome")
SVG = "{http://www.w3.org/2000/svg}"
#: Of a picture's 1000 x 210: where time begins, and its length.
LEFT, LENGTH, WIDTH = 40, 950, 1000

#: Once the page is there and all its pictures are drawn: whether each has something in it.
DRAWN = """new Promise((done) => {
  const look = () => {
    const images = [...document.querySelectorAll("figure img")];
    images.forEach((image) => { image.loading = "eager"; });
    document.readyState === "complete" && images.every((image) => image.complete)
      ? done(images.map((image) => image.naturalWidth > 0)) : setTimeout(look, 20);
  };
  look();
})"""
#: Once what plays has stopped: what was played, from where to where.
PLAYED = """new Promise((done) => {
  const source = () => player.getAttribute("src");
  const stops = (begun) => player.paused
    ? done([source(), begun, player.currentTime]) : setTimeout(stops, 20, begun);
  const plays = () => !player.paused && player.currentTime > 0
    ? stops(player.currentTime) : setTimeout(plays, 20);
  plays();
})"""
#: Where an element is: left, top, width, height.
PLACE = """(() => {
  const element = document.querySelector(SELECTOR);
  element.scrollIntoView({ block: "center" });
  const box = element.getBoundingClientRect();
  return [box.left, box.top, box.width, box.height];
})()"""


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
        scale = LENGTH / float(figure["data-duration"])
        for rect, (start, end) in zip(stretches, times, strict=True):
            assert abs(float(rect.get("x", "")) - LEFT - start * scale) < 0.02
            assert abs(float(rect.get("width", "")) - (end - start) * scale) < 0.02
        style = picture.find(f"{SVG}style")
        assert style is not None and style.text
        assert "prefers-color-scheme: dark" in style.text and "@media print" in style.text
        paths = {p.get("class"): p.get("d", "") for p in picture.iter(f"{SVG}path")}
        assert paths["wave"].count("M") == LENGTH
        assert paths["curve"].startswith("M") and paths["curve"].count("L") > 100
        lines = [line.get("class") for line in picture.iter(f"{SVG}line")]
        assert "threshold" in lines


class Visitor:
    """Somebody before a browser that shows one page."""

    def __init__(self, protocol: ClientConnection) -> None:
        self.protocol = protocol
        self.calls = 0

    def call(self, method: str, **parameters: Any) -> Any:
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        self.protocol.send(json.dumps(message))
        while (answer := json.loads(self.protocol.recv(timeout=90))).get("id") != self.calls:
            pass
        assert "result" in answer, answer
        return answer["result"]

    def ask(self, expression: str) -> Any:
        options = {"awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def place(self, selector: str) -> tuple[float, float, float, float]:
        left, top, width, height = self.ask(PLACE.replace("SELECTOR", json.dumps(selector)))
        return left, top, width, height

    def click(self, selector: str, across: float = 0.5) -> None:
        """On that element, `across` of its width from its left."""
        left, top, width, height = self.place(selector)
        at = {"x": left + across * width, "y": top + height / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def brightness(self, selector: str, media: str, scheme: str) -> tuple[float, float]:
        """Of what is seen there: in the mean, and from its darkest to its lightest; 0 to 255."""
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=feature)
        left, top, width, height = self.place(selector)
        clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
        seen = self.call("Page.captureScreenshot", clip=clip)["data"]
        with av.open(io.BytesIO(base64.b64decode(seen))) as picture:
            grey = next(picture.decode(video=0)).to_ndarray(format="gray")
        return float(grey.mean()), float(np.ptp(grey))


@contextmanager
def visit(page: Path, profile: Path) -> Iterator[Visitor]:
    command = [
        *(str(browser()), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--disable-background-networking", f"--user-data-dir={profile}"),
        *("--remote-debugging-port=0", "about:blank"),
    ]
    output = subprocess.DEVNULL
    # A script may start it, and it starts others: all of them are one group.
    process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        port = profile / "DevToolsActivePort"
        wait_until(lambda: port.exists() and bool(port.read_text()), "the browser", 60)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json"

        def pages() -> list[str]:
            with urllib.request.urlopen(address, timeout=30) as answer:
                found = json.load(answer)
            return [t["webSocketDebuggerUrl"] for t in found if t["type"] == "page"]

        with connect(wait_until(pages, "the page", 60)[0], max_size=None) as protocol:
            visitor = Visitor(protocol)
            visitor.call("Page.navigate", url=page.as_uri())
            yield visitor
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def browser() -> str | None:
    wanted = os.environ.get("V2M_TEST_BROWSER")
    found = (shutil.which(name) for name in ([wanted] if wanted else BROWSERS))
    return next((path for path in found if path), None)


@pytest.mark.skipif(browser() is None, reason="no browser: apt install chromium-headless-shell")
def test_a_click_plays_the_stretch(site: Path, tmp_path: Path) -> None:
    page = Figures((site / "pictures/index.html").read_text())
    figure = page.figures[0]
    first, second = json.loads(figure["data-speech"])
    with visit(site / "pictures/index.html", tmp_path / "profile") as visitor:
        assert visitor.ask(DRAWN) == [True, True]
        for media, scheme, dark in (
            ("screen", "light", False),
            ("screen", "dark", True),
            ("print", "dark", False),
        ):
            mean, contrast = visitor.brightness("figure img", media, scheme)
            assert (mean < 90) if dark else (mean > 165), (media, scheme, mean)
            assert contrast > 120, (media, scheme, contrast)
        visitor.call("Emulation.setEmulatedMedia", media="")
        # On the picture, in the middle of the second stretch; then the button of the first.
        share = sum(second) / 2 / float(figure["data-duration"])
        visitor.click("figure img", (LEFT + share * LENGTH) / WIDTH)
        played = [visitor.ask(PLAYED)]
        visitor.click("figure summary")
        visitor.click("figure button")
        played.append(visitor.ask(PLAYED))
    # It begins where the stretch does, and stops at its end (within a report of the time).
    for (source, begun, ended), (start, end) in zip(played, (second, first), strict=True):
        assert source == figure["data-audio"]
        assert start <= begun < end and end <= ended < end + 1.5
