"""No tool ends in a traceback on a user's mistake."""

import os
import signal
from pathlib import Path
from traceback import format_exception
from typing import Any, NoReturn

import pytest
from fuzz_inputs import Place, shown

INPUTS, QUICK = 200, 40
SECONDS = 120  # for one input, on a busy machine


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp('fuzz'))


def too_slow(*_: Any) -> NoReturn:
    raise TimeoutError(f'longer than {SECONDS} s')


def tracebacks(place: Place, numbers: range, capfd: pytest.CaptureFixture) -> list[str]:
    """What ended otherwise than by success or with a sentence."""
    found = []
    for number, (name, command) in enumerate(place.inputs(INPUTS)):
        if number not in numbers:
            continue
        before = signal.signal(signal.SIGALRM, too_slow)
        signal.alarm(SECONDS)
        try:
            place.tool(name, *command)
        except SystemExit as error:
            told = str(error.code) if isinstance(error.code, str) else capfd.readouterr().err
            if error.code and not told.strip():
                found.append(f'{name} {shown(command)}: ends without a word')
        except BaseException as error:
            found.append(f'{name} {shown(command)}: {"".join(format_exception(error)[-3:])}')
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            capfd.readouterr()
    return found


@pytest.mark.parametrize(
    'numbers', [range(0, INPUTS, INPUTS // QUICK), pytest.param(range(INPUTS), marks=pytest.mark.slow)]
)
def test_no_tool_ends_in_a_traceback(
    place: Place, numbers: range, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    found = tracebacks(place, numbers, capfd)
    assert not found, f'{len(found)} of {len(numbers)}:\n' + '\n'.join(found)


def test_the_inputs_are_of_all_tools_and_all_kinds(place: Place) -> None:
    inputs = list(place.inputs(INPUTS))
    assert len(inputs) == INPUTS
    tools = {path.stem for path in Path(__file__).resolve().parents[2].glob('tools/*.py')} - {'demo'}
    assert {name for name, _ in inputs} == tools
    words = [word for _, command in inputs for word in command]
    for kind in ('config_', 'arch_', 'deep.json', 'legacy_', 's3://', 'x' * 300, os.sep + 'folder'):
        assert any(kind in word for word in words), kind
    assert inputs == list(place.inputs(INPUTS))
