"""Code blocks of the documentation do what the pages say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("tutorial/*.md")) + sorted((ROOT / "docs").glob("how-to/*.md"))
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell_script(page: str) -> str:
    """Every `$ ` line (and its continuations) of a page's console blocks, in order."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for kind, block in _BLOCK.findall(page):
        if kind == "python":
            lines += ["python - <<'PYTHON'", block.rstrip("\n"), "PYTHON"]
            continue
        continued = False
        for line in block.splitlines():
            if line.startswith("$ ") or continued:
                command = line.removeprefix("$ ")
                lines.append(re.sub(r"^uv run (--\S+ \S+ )?", "", command.strip()))
                continued = command.endswith("\\")
    return "\n".join(lines) + "\n"


@pytest.mark.system
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_as_written(page: Path, tmp_path: Path) -> None:
    script = shell_script(page.read_text(encoding="utf-8"))
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    environment["CANOTA_CHECKOUT"] = str(ROOT)
    done = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 the shell of the reader
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_every_page_in_the_index_exists() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", index)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
