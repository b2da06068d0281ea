"""Whether a command of the documents would start: its program is there, takes the arguments, and its configs load."""

import argparse
import inspect
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
from mmengine.registry import DefaultScope, Registry, root
from packaging.requirements import Requirement
from torch.distributed.run import get_args_parser

from mmhybrid.__main__ import COMMANDS
from mmhybrid.apis.configs import config_file, is_named, load_config
from mmhybrid.apis.training import enable_auto_scale_lr
from mmhybrid.search import Constraint, Objective, Stage

# What is installed beside the project's own requirements.
OPTIONAL = {'optuna-dashboard', 'wandb'}
FOLDERS = ('benchmarks', 'configs', 'docs', 'examples', 'mmhybrid', 'requirements', 'tests', 'tools')
# In place of a program: one line of JSON with the arguments it was given.
# Whose arguments settings without a type are, by the name they have in a config.
UNTYPED = {
    'optim_wrapper': 'OptimWrapper',
    'constraints': Constraint,
    'objectives': Objective,
    'stages': Stage,
}
NAMED = ('constraints', 'stages')  # what stands in them has names that a config chooses
STAND_IN = '#!{python}\nimport json, sys\nprint(json.dumps([{name!r}, *sys.argv[1:]]))\n'


class Parsed(BaseException):
    """Raised in place of what a program does with its arguments."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments


def check(command: Command) -> None:
    """Raise ValueError unless ``command`` would start; nothing of it is run."""
    program, *arguments = command.words
    if command.pipe and (command.pipe[0], len(command.pipe)) != ('tee', 2):
        raise ValueError(f'{command}: pipes into {command.pipe}, allowed: tee FILE')
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


def _mmhybrid(arguments: Sequence[str]) -> None:
    """A command is checked as the script that is the same."""
    if arguments and arguments[0] in COMMANDS:
        _script(f'tools/{COMMANDS[arguments[0]]}.py', tuple(arguments[1:]))
    elif list(arguments) != ['--help']:
        raise ValueError(f'mmhybrid {" ".join(arguments[:1])}, allowed: one of {list(COMMANDS)}')


def _python(arguments: Sequence[str]) -> None:
    arguments = [argument for argument in arguments if argument != '-u']
    if arguments[:1] == ['-c'] and 'torch.distributed.run' in arguments[1]:  # tools/torchrun.sh
        _torchrun(arguments[2:])
    elif arguments[:2] == ['-m', 'mmhybrid']:
        _mmhybrid(arguments[2:])
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
        if config is not None and is_named(config):
            config = os.path.relpath(config_file(config), ROOT)
        if config is not None and (ROOT / config).is_file():
            check_config(config, own, amp=parsed.get('amp', False), scales=parsed.get('auto_scale_lr', False))


def check_config(path: str, options: dict[str, Any], amp: bool = False, scales: bool = False) -> None:
    """Raise ValueError unless a config loads with ``options``, each of which replaces or adds what is read."""
    cfg = load_config(str(ROOT / path), options)
    plain = _as_shipped(path)
    for name in options:
        if '.' in name:
            _check_place(path, plain, name, amp)
    if scales:
        enable_auto_scale_lr(cfg)


def _check_place(path: str, plain: Any, name: str, amp: bool) -> None:
    """Options replace what the config has, or are arguments of the class whose settings they stand among."""
    *parents, last = name.split('.')
    scope = plain.get('default_scope', 'mmengine')
    holder, kind_of = '', None
    for parent in parents:
        is_name = holder in NAMED and parent != holder
        plain = plain[int(parent)] if isinstance(plain, list) else plain.get(parent, {} if is_name else None)
        if plain is None:
            raise ValueError(f'--cfg-options {name}: {path} has no {parent}')
        kind_of = UNTYPED.get(holder) if is_name else None
        holder = holder if parent.isdigit() else parent
    if isinstance(plain, list):
        if int(last) >= len(plain):
            raise ValueError(f'--cfg-options {name}: {path} has only {len(plain)}')
    elif last not in plain:
        kind = plain.get('type', kind_of or UNTYPED.get(holder))
        if amp and holder == 'optim_wrapper':
            kind = 'AmpOptimWrapper'
        if kind is None or last not in _arguments(kind, scope):
            raise ValueError(f'--cfg-options {name}: {path} has no {last}, and {kind or holder} takes none')


@cache
def _arguments(kind: Any, scope: str) -> frozenset[str]:
    """The arguments of a class, or of the name of a registered one; those of its bases where it hands them on."""
    with DefaultScope.overwrite_default_scope(scope):
        if isinstance(kind, str):
            found = filter(
                None, (registry.get(kind) for registry in vars(root).values() if isinstance(registry, Registry))
            )
            kind = next(found, None)
    names: set[str] = set()
    for base in inspect.getmro(kind) if inspect.isclass(kind) else (kind,) if kind is not None else ():
        if inspect.isclass(base) and '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base).parameters.values()
        names |= {parameter.name for parameter in parameters if parameter.kind not in (2, 4)}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return frozenset(names)


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
    if '--launcher' not in parsed.training_script_args:
        raise ValueError(f'{parsed.training_script} is started by torchrun without --launcher')
    _python([*(('-m',) if parsed.module else ()), parsed.training_script, *parsed.training_script_args])


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
    required = [line for path in (ROOT / 'requirements').rglob('*.txt') for line in path.read_text().splitlines()]
    # `make ops` compiles it between two lists of requirements
    required += re.findall(r'mmcv==[\d.]+', (ROOT / 'Makefile').read_text())
    known = {Requirement(line.split('#')[0]).name for line in required if line.split('#')[0].strip()} | OPTIONAL
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument('-e', '--editable')
    parser.add_argument('--no-build-isolation', action='store_true')
    parsed, rest = parser.parse_known_args(arguments[1:])
    for name in rest:
        if name.startswith('-'):
            raise ValueError(f'pip install {name}, allowed: -e PATH, --no-build-isolation')
        if Requirement(name).name not in known:
            raise ValueError(f'{name} is in none of requirements/*.txt, nor in the Makefile')
    if parsed.editable is None:
        return
    path, _, extras = parsed.editable.rstrip(']').partition('[')
    if not (ROOT / path / 'setup.py').is_file():
        raise ValueError(f'{path} has no setup.py')
    allowed = {extra.stem for extra in (ROOT / 'requirements/extras').glob('*.txt')} | {'all', ''}
    if unknown := set(extras.split(',')) - allowed:
        raise ValueError(f'extras {unknown}, allowed: {allowed}')


def _dashboard(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or not ('://' in arguments[0] or arguments[0].endswith('.journal')):
        raise ValueError(f'one storage, a .journal or an URL, not {list(arguments)}')


def _activate(arguments: Sequence[str]) -> None:
    """Read ``activate`` of the environment that the Makefile sets up."""
    environment = re.search(r'^VENV := (\S+)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert environment is not None
    if list(arguments) != [f'{environment[1]}/bin/activate']:
        raise ValueError(f'activates {list(arguments)}, allowed: {environment[1]}/bin/activate')


def _awk(arguments: Sequence[str]) -> None:
    """Run the program on a line of its own kind."""
    if len(arguments) != 2:
        raise ValueError(f'a program and a file, not {list(arguments)}')
    done = subprocess.run(['awk', arguments[0]], input='1 ms: a line\n', capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        raise ValueError(f'awk {arguments[0]!r} gives {done.stderr or "nothing"}')


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    '.': _activate,
    'awk': _awk,
    'bash': _bash,
    'make': _make,
    'mmhybrid': _mmhybrid,
    'optuna-dashboard': _dashboard,
    'pip': _pip,
    'python': _python,
}
