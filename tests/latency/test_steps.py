"""What is said of long work, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from mmhybrid.latency import steps
from mmhybrid.latency.steps import Steps


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds to it."""
    now = [0.0]
    monkeypatch.setattr(steps.time, 'monotonic', lambda: now[0])
    return now


def test_the_first_step_tells_how_long_the_rest_takes(clock):
    text = io.StringIO()
    with Steps(Console(file=text, force_terminal=True, width=100)) as shown:
        shown._progress.get_time = lambda: clock[0]
        step = shown.begin('networks exported', 270)
        clock[0] = 8.0
        step()
        shown._progress.refresh()
    assert '1/270' in text.getvalue()
    assert '0:35:52' in text.getvalue()  # 269 times 8 s


def test_what_an_earlier_process_has_done_took_no_time(clock):
    text = io.StringIO()
    with Steps(Console(file=text, force_terminal=True, width=100)) as shown:
        shown._progress.get_time = lambda: clock[0]
        step = shown.begin('networks exported', 270, 260)
        clock[0] = 8.0
        step()
        shown._progress.refresh()
    assert '261/270' in text.getvalue()
    assert '0:01:12' in text.getvalue()


def test_a_log_has_a_line_a_minute(clock):
    text = io.StringIO()
    with Steps(Console(file=text, force_terminal=False, width=100)) as shown:
        shown._progress.get_time = lambda: clock[0]
        step = shown.begin('networks exported', 100, 10)
        for _ in range(20):
            clock[0] += 10
            step()
        lines = text.getvalue().splitlines()
    assert lines == [
        'networks exported: 11 of 100, 0:14:50 left',
        'networks exported: 17 of 100, 0:13:50 left',
        'networks exported: 23 of 100, 0:12:50 left',
        'networks exported: 29 of 100, 0:11:50 left',
    ]
