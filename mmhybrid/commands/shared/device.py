"""Arguments for the device on which networks are measured, and how it is used."""

from argparse import ArgumentParser, Namespace
from typing import Any

import torch

from mmhybrid.latency.backends import BACKENDS, CLOCKS, DTYPES
from mmhybrid.latency.devices import Device

NAMES = ('device', 'backend', 'dtype', 'batch', 'threads', 'clock')


def add_device(parser: ArgumentParser, other: str) -> None:
    """Add the arguments of :data:`NAMES`, each of which is None if it is not given.

    Args:
        parser: Parser of the command.
        other: Source of a user's own backends, for the help text.
    """
    parser.add_argument('--device', help="cpu, cuda, or the backend's own name of a device; default: cpu")
    parser.add_argument('--backend', help=f'{", ".join(BACKENDS)}, or one that {other}; default: eager')
    parser.add_argument('--dtype', choices=tuple(DTYPES), help='data type of weights and images; default: float32')
    parser.add_argument('--batch', type=int, metavar='N', help='batch size; default: 1')
    parser.add_argument(
        '--threads', type=int, metavar='N', help="number of CPU threads; default: torch's, on other machines 1"
    )
    parser.add_argument('--clock', choices=tuple(CLOCKS), help='thread: for one thread of a busy CPU; default: wall')


def device_of(args: Namespace) -> Device:
    """Return the device of this machine that the command line describes; raise ValueError if it does not exist."""
    return Device.here(**_with_defaults(args, torch.get_num_threads()))


def device_elsewhere(args: Namespace) -> Device:
    """Return the other machine's device that the command line describes; raise ValueError if it cannot be used."""
    return Device.elsewhere(**_with_defaults(args, 1))


def _with_defaults(args: Namespace, threads: int) -> dict[str, Any]:
    default = {'device': 'cpu', 'backend': 'eager', 'dtype': 'float32', 'batch': 1, 'threads': threads, 'clock': 'wall'}
    return {**default, **{name: vars(args)[name] for name in NAMES if vars(args)[name] is not None}}
