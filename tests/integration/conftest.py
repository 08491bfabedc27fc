"""Fixtures, and what is printed when a test fails."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402


def pytest_configure(config):
    if not os.path.exists(harness.RESPONDER):
        raise pytest.UsageError("no responder in %s: build it, or set DW_BUILD" % harness.BUILD)


def pytest_report_header(config):
    return "responder: %s%s" % (harness.RESPONDER, " (sanitizers: figures are not bounds)" if harness.SANITIZED else "")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, "report_" + report.when, report)
    if report.when == "call" and report.failed:
        for world in getattr(item, "worlds", []):
            report.sections.append(("processes' logs", world.logs()))


@pytest.fixture
def make_world(request):
    """A function that makes worlds; all of them are closed after the test."""
    request.node.worlds = []

    def make(**settings):
        world = harness.World(**settings)
        request.node.worlds.append(world)
        return world

    yield make
    wrong = []
    for world in request.node.worlds:
        text = world.close()
        if text is not None:
            wrong.append(text + "\n" + world.logs())
        world.remove()
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def world(make_world):
    return make_world()
