"""The report as a reader opens it: from the file, in a browser, without a network."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cloud.reports import render_html
from tests.support.reports import campaign

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium (Debian)"),
]

#: Nothing listens there: whatever the page would fetch fails, and is logged.
_NOWHERE = "127.0.0.1:9"


def browse(page: Path, profile: Path, *what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 our own page
        [  # noqa: S607 the machine's browser
            "chromium",
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={profile}",
            f"--proxy-server={_NOWHERE}",
            "--enable-logging=stderr",
            *what,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    written = tmp_path / "report.html"
    written.write_bytes(render_html(campaign()))
    return written


def test_the_report_opens_from_the_file_and_asks_no_network(page: Path, tmp_path: Path) -> None:
    shown = browse(page, tmp_path / "profile", "--dump-dom")
    assert "proved by signed read-back" in shown.stdout
    assert "<svg" in shown.stdout
    complaints = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []


def test_the_report_paints_more_than_a_blank_page(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    browse(page, tmp_path / "profile", f"--screenshot={picture}", "--window-size=1000,1600")
    # A blank page of this size packs to a few KiB; text and charts do not.
    assert len(picture.read_bytes()) > 50_000
