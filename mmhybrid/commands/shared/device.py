"""The arguments that say on which device networks are measured, and how."""

from argparse import ArgumentParser, Namespace
from typing import Any

import torch

from mmhybrid.latency.backends import BACKENDS, CLOCKS, DTYPES
from mmhybrid.latency.devices import Device

NAMES = ('device', 'backend', 'dtype', 'batch', 'threads', 'clock')


def add_device(parser: ArgumentParser, other: str) -> None:
    """The arguments named :data:`NAMES`, each None where it is not given.

    Args:
        parser: Of the command.
        other: Where backends of a user's own come from, for the help.
    """
    parser.add_argument('--device', help='cpu, cuda, or what the backend calls its own; default: cpu')
    parser.add_argument('--backend', help=f'{", ".join(BACKENDS)}, or one that {other}; default: eager')
    parser.add_argument('--dtype', choices=tuple(DTYPES), help='default: float32')
    parser.add_argument('--batch', type=int, metavar='N', help='images at once; default: 1')
    parser.add_argument('--threads', type=int, metavar='N', help="default: torch's, on other machines 1")
    parser.add_argument('--clock', choices=tuple(CLOCKS), help='thread: for one thread of a busy CPU; default: wall')


def device_of(args: Namespace) -> Device:
    """The device of this machine that the command line describes; ValueError if there is none like that."""
    return Device.here(**_with_defaults(args, torch.get_num_threads()))


def device_elsewhere(args: Namespace) -> Device:
    """The device of another machine that the command line describes; ValueError if nothing can be exported for it."""
    return Device.elsewhere(**_with_defaults(args, 1))


def _with_defaults(args: Namespace, threads: int) -> dict[str, Any]:
    default = {'device': 'cpu', 'backend': 'eager', 'dtype': 'float32', 'batch': 1, 'threads': threads, 'clock': 'wall'}
    return {**default, **{name: vars(args)[name] for name in NAMES if vars(args)[name] is not None}}
