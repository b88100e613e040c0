"""Rules for the whole suite."""

import os

import pytest


@pytest.hookimpl(optionalhook=True)  # not everywhere is xdist
def pytest_xdist_auto_num_workers() -> int:
    """Two more than cores: tests of several processes wait in real time, and others can go on."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CANOTA_FAIL_ON_SKIP") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("a skipped test counts as a failure here", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where every tool is installed, a skipped test is a hole in the net."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.environ.get("CANOTA_FAIL_ON_SKIP")
        and exitstatus == pytest.ExitCode.OK
        and reporter is not None
        and reporter.stats.get("skipped")
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
