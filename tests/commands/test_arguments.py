"""The arguments that commands share, and what they are read as."""

import os
import re
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mmhybrid import commands
from mmhybrid.commands.shared.arguments import add_config, add_run, config_of_run, import_modules
from mmhybrid.commands.shared.device import NAMES, add_device, device_of
from mmhybrid.commands.shared.storage import add_storage
from mmhybrid.search.storage import STUDY_NAME


def test_a_device_is_the_default_but_for_what_is_given() -> None:
    parser = ArgumentParser()
    add_device(parser, '--import enters')
    nothing = parser.parse_args([])
    assert {name: vars(nothing)[name] for name in NAMES} == dict.fromkeys(NAMES)
    device = device_of(nothing)
    assert (device.device, device.backend, device.dtype, device.batch, device.clock) == (
        *('cpu', 'eager', 'float32', 1, 'wall'),
    )
    assert device.threads == torch.get_num_threads()
    given = device_of(parser.parse_args(['--threads', '1', '--clock', 'thread', '--batch', '3', '--dtype', 'bfloat16']))
    assert (given.dtype, given.batch, given.threads, given.clock) == ('bfloat16', 3, 1, 'thread')


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['--batch', '0'], r'device\.batch: got 0, allowed: an int from 1 to 1048576'),
        (['--threads', '0'], r'device\.threads: got 0, allowed: an int from 1 to 1024'),
        (['--threads', '2', '--clock', 'thread'], 'thread'),
        (['--backend', 'none'], 'none'),
    ],
)
def test_a_device_that_is_none_is_told(words: list[str], told: str) -> None:
    parser = ArgumentParser()
    add_device(parser, '--import enters')
    with pytest.raises(ValueError, match=told):
        device_of(parser.parse_args(words))


def test_a_storage_is_named_as_the_config_says_where_there_is_one() -> None:
    for default, help_text in ((STUDY_NAME, 'default: WORK_DIR/'), (None, "default: the config's, or WORK_DIR/")):
        parser = ArgumentParser()
        add_storage(parser, default)
        assert vars(parser.parse_args([])) == {'storage': None, 'study_name': default}
        assert help_text in ' '.join(parser.format_help().split())


def test_a_run_is_of_the_config_with_the_settings_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is put back
    monkeypatch.delenv('LOCAL_RANK')
    (tmp_path / 'config.py').write_text("model = dict(type='ImageClassifier')\n")
    parser = ArgumentParser()
    add_config(parser)
    add_run(parser)
    words = [str(tmp_path / 'config.py'), '--work-dir', 'here', '--cfg-options', 'model.a=1', '--local-rank', '2']
    cfg = config_of_run(parser.parse_args(words))
    assert (cfg.work_dir, cfg.launcher, cfg.model.a) == ('here', 'none', 1)
    assert os.environ['LOCAL_RANK'] == '2'


@pytest.mark.parametrize(
    ('module', 'content', 'message'),
    [
        ('raises_at_import', '1 / 0', "--import 'raises_at_import': ZeroDivisionError"),
        ('no_python', 'def', "--import 'no_python': SyntaxError"),
        ('.relative', '', r"--import '\.relative': TypeError"),
        ('', '', "--import '': ValueError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    module: str, content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f'{module}.py').write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        import_modules([module])


COMMANDS = sorted(
    path.stem
    for path in Path(commands.__path__[0]).glob('*.py')
    if re.search(r'add_(config|cfg_options)\(', path.read_text())
)


@pytest.mark.parametrize('command', COMMANDS)
def test_what_is_wrong_with_settings_shows_no_password(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_module(f'mmhybrid.commands.{command}').main(['--cfg-options', 'postgresql://you:sekret@host/db'])
    told = capsys.readouterr()
    assert 'postgresql://you:***@host/db' in told.err
    assert 'sekret' not in told.out + told.err
