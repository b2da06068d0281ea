"""Arguments that several commands have, each defined once."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from mmengine.config import Config, DictAction

from mmhybrid.apis.configs import load_config
from mmhybrid.engine.ranks import LAUNCHERS
from mmhybrid.utils.addresses import without_passwords
from mmhybrid.utils.errors import first_line


class Parser(ArgumentParser):
    """An argument parser whose error messages contain no passwords."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end the program."""
        super().error(without_passwords(message))


class Settings(DictAction):
    """MMEngine's ``KEY=VALUE`` pairs; a pair that cannot be parsed is a wrong command line."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Parse and keep the pairs."""
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError, IndexError):
            parser.error(
                f'{option_string}: got {" ".join(values)}, allowed: pairs such as optim_wrapper.optimizer.lr=0.1'
            )


def add_config(parser: ArgumentParser, what: str = 'config file') -> None:
    """Add a config and ``--cfg-options``, for commands that need a config."""
    parser.add_argument('config', help=what)
    add_cfg_options(parser)


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options``, for commands that read a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        metavar='KEY=VALUE',
        help='settings that replace those of the config',
    )


def check_cfg_options(parser: ArgumentParser, args: Namespace) -> None:
    """End the program if ``--cfg-options`` are given without the optional ``--config``."""
    if args.config is None and args.cfg_options:
        parser.error('--cfg-options: allowed with --config alone, whose settings they replace')


def add_launcher(parser: ArgumentParser) -> None:
    """Add ``--launcher``, for commands that several processes may run together."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='how processes were started')


def add_run(parser: ArgumentParser) -> None:
    """Add the work directory and the launcher of an MMEngine runner, after :func:`add_config`."""
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: ./work_dirs/<name of the config>')
    add_launcher(parser)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')


def config_of_run(args: Namespace) -> Config:
    """Return the config of a run that :func:`add_run` describes; raise the ValueError of :func:`load_config`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return load_config(args.config, args.cfg_options, args.work_dir, args.launcher)


def add_imports(parser: ArgumentParser) -> None:
    """Add ``--import``, for commands that read data of a user's own classes without a config that imports them."""
    parser.add_argument(
        '--import',
        dest='imports',
        nargs='+',
        default=[],
        metavar='MODULE',
        help='modules with your own backends or spaces',
    )


def import_modules(names: Sequence[str]) -> None:
    """Import the modules that the command line names; raise ValueError if one does not exist or fails."""
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(f'--import {name}: {error}') from error
        except Exception as error:  # a user's module may raise anything
            raise ValueError(f'--import {name!r}: {type(error).__name__}: {first_line(error)}') from error
