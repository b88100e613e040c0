from pathlib import Path

import pytest

import clock
from canota.chaos.processes import KillError, Program


def test_a_process_that_ends_without_being_killed_is_told_of_with_its_last_words(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        program = Program("gateway", r"canota", ("--version",), log)
        await program.start()
        await program.ended()
        log.write_text("Traceback: the wire is away\n")
        with pytest.raises(KillError, match=r"gateway ended by itself: .*the wire is away"):
            program.check()

    clock.run(main(), virtual=False)


def test_a_process_that_was_killed_or_never_started_is_none_that_ended(tmp_path: Path) -> None:
    async def main() -> None:
        program = Program("cloud", "listens on", ("cloud", "serve", "--port", "0",
                          "--state", str(tmp_path / "cloud")), tmp_path / "log")  # fmt: skip
        program.check()
        await program.start()
        program.check()
        await program.kill()
        program.check()
        assert program.kills == 1

    clock.run(main(), virtual=False)
