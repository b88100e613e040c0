"""Code blocks of the documentation do what the pages say."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ecu_sim.scenario.reading import EVENT_KEYS, STEP_KEYS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("tutorial/*.md")) + sorted((ROOT / "docs").glob("how-to/*.md"))
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: The name of a file that a block shows.
_FILE = re.compile(r"# (\w+\.py)\n")
_PORT = re.compile(r"\b50[0-9]{3}\b")
_PROLOGUE = """\
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
"""


def shell_script(page: str) -> str:
    """Every `$ ` line (and its continuations) of a page's console blocks, in order.

    A Python block runs; one that begins with the name of a file becomes that file.

    Ports are replaced by free ones, and after a program is started in the background the script
    waits until its ports answer, as a reader would for its first line.
    """
    commands: list[str] = []
    for kind, block in _BLOCK.findall(page):
        if file := _FILE.match(block):
            commands.append(f"cat > {file[1]} <<'PYTHON'\n{block}PYTHON")
            continue
        if kind == "python":
            commands.append(f"python - <<'PYTHON'\n{block}PYTHON")
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(line.removeprefix("$ "))
            elif commands[-1].endswith("\\"):
                commands[-1] += f"\n{line}"
    script = "\n".join(
        command + (_wait_for(_PORT.findall(command)) if command.endswith("&") else "")
        for command in commands
    )
    script = re.sub(r"\buv run (--group \S+ )?", "", script)
    for port in sorted(set(_PORT.findall(script))):
        script = script.replace(port, str(_free_port()))
    return f"{_PROLOGUE}{script}\n"


def _wait_for(ports: list[str]) -> str:
    return "".join(
        f"\nuntil (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 $!; done"
        for port in ports
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def missing_tools(page: str) -> list[str]:
    """What a page needs beyond the default dependency groups."""
    needs = {"--group firmware": "ziglang"}
    return [
        package
        for words, package in needs.items()
        if words in page and importlib.util.find_spec(package) is None
    ]


@pytest.mark.system
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_as_written(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if missing := missing_tools(text):
        pytest.skip(f"needs {missing}: uv sync --all-groups")
    (tmp_path / "firmware").symlink_to(ROOT / "firmware")
    script = shell_script(text)
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")  # what pages write for Wireshark
    done = subprocess.run(  # noqa: S603 our own pages
        ["bash", "-c", script],  # noqa: S607 the shell of the reader
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_every_link_of_every_page_leads_to_a_file() -> None:
    found = 0
    lost = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s#]+)", prose):
            found += 1
            if "://" not in link and not (page.parent / link).exists():
                lost.append(f"{page.relative_to(ROOT)}: {link}")
    assert found > 50
    assert lost == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").glob("*/*.md")]
    assert pages
    assert [
        page for page in pages if page.parts[0] != "adr" and f"({page.as_posix()})" not in index
    ] == []


def test_the_page_of_scenarios_has_every_key_of_a_step_and_every_event() -> None:
    page = (ROOT / "docs" / "how-to" / "faults.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    missing = [key for key in STEP_KEYS if f"`{key}`" not in rows and f"`{key} = " not in rows]
    assert missing == []
    events = "\n".join(re.findall(r"^\| `\{ (.+) \}` \|", page, re.MULTILINE))
    assert set(EVENT_KEYS) <= set(re.findall(r"\w+", events))
