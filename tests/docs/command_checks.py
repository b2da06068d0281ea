"""Whether a command of the documents would start: its program is there, takes the arguments, and its configs load."""

import argparse
import itertools
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from doc_blocks import ROOT, Command
from mmengine.config import Config
from packaging.requirements import Requirement
from torch.distributed.run import get_args_parser

from mmhybrid.engine import cli

# What is installed beside the project's own requirements.
OPTIONAL = {'optuna-dashboard'}
FOLDERS = ('benchmarks', 'configs', 'docs', 'examples', 'mmhybrid', 'requirements', 'tests', 'tools')
# In place of a program: one line of JSON with the arguments it was given.
STAND_IN = '#!{python}\nimport json, sys\nprint(json.dumps([{name!r}, *sys.argv[1:]]))\n'


class Parsed(BaseException):
    """Raised in place of what a program does with its arguments."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments


def check(command: Command) -> None:
    """Raise ValueError unless ``command`` would start; nothing of it is run."""
    program, *arguments = command.words
    if program not in CHECKS:
        raise ValueError(f'{command}: no check for {program}')
    try:
        with patch.object(sys, 'path', [*command.python_path, *sys.path]):
            CHECKS[program](arguments)
    except ValueError as error:
        raise ValueError(f'{command}: {error}') from error


def missing_paths(text: str) -> list[str]:
    """The paths of this project that ``text`` names, braces and stars expanded, and that are not there."""
    found = re.findall(rf'(?<![\w./-])(?:{"|".join(FOLDERS)})/[\w./{{}},*-]*', text)
    candidates = itertools.chain.from_iterable(expanded(path.rstrip('.,')) for path in found)
    return [path for path in candidates if not any(ROOT.glob(path))]


def expanded(path: str) -> list[str]:
    """``a/{b,c}`` as ``a/b`` and ``a/c``."""
    braces = re.search(r'\{([^{}]*)\}', path)
    if braces is None:
        return [path]
    parts = braces[1].split(',')
    return [one for part in parts for one in expanded(path[: braces.start()] + part + path[braces.end() :])]


def options_of(script: str) -> set[str]:
    """The options that a program knows."""
    parsers: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        parsers.append(parser)
        raise Parsed(argparse.Namespace())

    _started(script, [], keep)
    return set(parsers[0]._option_string_actions)


def _python(arguments: Sequence[str]) -> None:
    arguments = [argument for argument in arguments if argument != '-u']
    if arguments[:2] == ['-m', 'torch.distributed.run']:
        _torchrun(arguments[2:])
    elif arguments[0] == '...':
        return
    else:
        _script(arguments[0], tuple(arguments[1:]))


@cache
def _script(script: str, arguments: tuple[str, ...]) -> None:
    if not (ROOT / script).is_file():
        raise ValueError(f'{script} does not exist')
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        raise Parsed(parse(parser, *given, **named))

    parsed = vars(_started(script, arguments, stop))
    if missing := [path for argument in arguments for path in missing_paths(argument)]:
        raise ValueError(f'{missing[0]} does not exist')
    options = parsed.get('cfg_options') or {}
    first = parsed.get('config')
    configs = [parsed.get('recipe'), *(parsed.get('into') or [])]
    for config, own in [(first, options), *((config, {}) for config in configs)]:
        if config is not None and (ROOT / config).is_file():
            _check_config(config, own, scales=parsed.get('auto_scale_lr', False))


def _check_config(path: str, options: dict[str, Any], scales: bool) -> None:
    cfg = cli.load_config(str(ROOT / path), options)
    for name in options:
        _check_place(path, name)
    if scales:
        cli.enable_auto_scale_lr(cfg)


def _check_place(path: str, name: str) -> None:
    """Options replace what the config has, or stand where it names other settings of the same kind."""
    plain: Any = _as_shipped(path)
    *parents, last = name.split('.')
    for parent in parents:
        plain = plain[int(parent)] if isinstance(plain, list) else plain.get(parent)
        if plain is None:
            raise ValueError(f'--cfg-options {name}: {path} has no {parent}')
    if isinstance(plain, list) and int(last) >= len(plain):
        raise ValueError(f'--cfg-options {name}: {path} has only {len(plain)}')


@cache
def _as_shipped(path: str) -> dict[str, Any]:
    return Config.fromfile(ROOT / path).to_dict()


def _started(script: str, arguments: Sequence[str], instead: Callable[..., Any]) -> argparse.Namespace:
    """Run a program up to where it reads its arguments."""
    folder = str((ROOT / script).parent)
    errors: list[str] = []

    def fail(parser: argparse.ArgumentParser, message: str) -> None:
        errors.append(message)
        raise SystemExit(2)

    modules = set(sys.modules)
    with (
        patch.object(sys, 'argv', [script, *arguments]),
        patch.object(sys, 'path', [folder, *sys.path]),
        patch.object(argparse.ArgumentParser, 'parse_args', instead),
        patch.object(argparse.ArgumentParser, 'error', fail),
    ):
        try:
            runpy.run_path(str(ROOT / script), run_name='__main__')
        except Parsed as parsed:
            return parsed.arguments
        except SystemExit as error:
            raise ValueError(f'{script}: {errors[0] if errors else error}') from error
        finally:
            for name in set(sys.modules) - modules:  # benchmarks have modules of equal names beside them
                if str(getattr(sys.modules[name], '__file__', None)).startswith(f'{folder}{os.sep}'):
                    del sys.modules[name]
    raise ValueError(f'{script} reads no arguments')


def _torchrun(arguments: Sequence[str]) -> None:
    try:
        parsed = get_args_parser().parse_args(list(arguments))
    except SystemExit as error:
        raise ValueError('torchrun does not take these arguments') from error
    _python([parsed.training_script, *parsed.training_script_args])


def _bash(arguments: Sequence[str]) -> None:
    """Run a shell script with stand-ins for the programs that it starts, and check what they are given."""
    if not (ROOT / arguments[0]).is_file():
        raise ValueError(f'{arguments[0]} does not exist')
    _check_script(tuple(arguments))


@cache
def _check_script(arguments: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ('python', 'srun'):
            path = Path(folder, name)
            path.write_text(STAND_IN.format(python=sys.executable, name=name))
            path.chmod(0o755)
        environment = {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}'}
        done = subprocess.run(['bash', *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    started = json.loads(done.stdout)
    _python(started[started.index('python') + 1 :])


def _make(arguments: Sequence[str]) -> None:
    done = subprocess.run(['make', '-n', *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)


def _pip(arguments: Sequence[str]) -> None:
    if arguments[0] != 'install':
        raise ValueError(f'pip {arguments[0]}, allowed: pip install')
    required = [line for path in (ROOT / 'requirements').glob('*.txt') for line in path.read_text().splitlines()]
    known = {Requirement(line.split('#')[0]).name for line in required if line.split('#')[0].strip()} | OPTIONAL
    for name in arguments[1:]:
        if not name.startswith('-') and name != '.' and Requirement(name).name not in known:
            raise ValueError(f'{name} is in none of requirements/*.txt')


def _dashboard(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise ValueError(f'one storage, not {list(arguments)}')


def _git(arguments: Sequence[str]) -> None:
    if arguments[0] not in ('clone',):
        raise ValueError(f'git {arguments[0]}, allowed: git clone')


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    'bash': _bash,
    'git': _git,
    'make': _make,
    'optuna-dashboard': _dashboard,
    'pip': _pip,
    'python': _python,
    'torchrun': _torchrun,
}
