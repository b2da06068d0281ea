"""What is not installed is told with the command that installs it, and that breaks nothing that is."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmhybrid.utils.optional import HOSTS, INSTALL_HOSTS, how_to_install, told

EXTRAS = Path(__file__).resolve().parents[2] / 'requirements/extras'
LINES = ['openmmlab', 'onedl']


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has MMEngine of a line of hosts installed."""

    def install(line: str) -> None:
        name = {'openmmlab': 'mmengine', 'onedl': 'onedl-mmengine'}[line]

        def version(asked: str) -> str:
            if asked != name:
                raise metadata.PackageNotFoundError(asked)
            return '1'

        monkeypatch.setattr(metadata, 'version', version)

    return install


@pytest.mark.parametrize('line', LINES)
def test_a_host_is_told_as_the_extra_of_its_line_has_it(line: str, installed: Callable[[str], None]) -> None:
    """By itself: the whole extra would put mmcv-lite over a compiled MMCV, and one line over the other."""
    installed(line)
    required = {text.partition('#')[0].strip() for text in (EXTRAS / f'{line}.txt').read_text().splitlines()}
    for module in set(HOSTS) - {'mmengine'}:
        command, _, requirement = how_to_install(module).partition(" '")
        assert command == 'pip install'
        assert requirement.removesuffix("'") in required
    assert {pins[LINES.index(line)] for pins in HOSTS.values()} < required


def test_a_line_is_chosen_where_there_is_none() -> None:
    assert how_to_install('mmengine') == INSTALL_HOSTS


@pytest.mark.parametrize('line', LINES)
def test_lines_bring_what_their_hosts_import_without_declaring_it(line: str) -> None:
    """MMPretrain's transforms import torchvision, on whose operators those of MMCV run; no host requires it."""
    stated = [text.partition('#')[0].strip() for text in (EXTRAS / f'{line}.txt').read_text().splitlines()]
    assert 'torchvision' in {Requirement(text).name for text in stated if text}


def test_operators_that_are_not_found_are_no_matter_of_the_host() -> None:
    """It is installed; what is missing is torchvision's, a compiled MMCV, or turned off."""
    sentence = told(ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext'))
    assert 'torchvision' in sentence
    assert 'MMHYBRID_MMCV_OPS' in sentence
    assert 'mmcv-lite' not in sentence
    assert 'mmhybrid[' not in sentence
    missing = told(ModuleNotFoundError("No module named 'torchvision'", name='torchvision'))
    assert missing == "No module named 'torchvision': pip install torchvision"
    assert told(ModuleNotFoundError("No module named 'mine'", name='mine')) == "No module named 'mine'"
    broken = ImportError('undefined symbol: _ZN3c10', name='mmcv._ext')  # compiled for another torch
    assert told(broken) == 'undefined symbol: _ZN3c10'
    assert told(ImportError('mmseg is not installed')).endswith(how_to_install('mmseg'))
