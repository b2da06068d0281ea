"""From the ``arch=`` argument of a backbone to its validated description."""

from collections.abc import Mapping
from typing import Any

from mmhybrid.utils.checks import bad_value, check_float, check_int


def resolve_arch(family: str, arch: object, presets: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The dict behind ``arch``, a preset's name or a dict already.

    Raises:
        ValueError: If the name is unknown, or ``arch`` is neither.
    """
    if isinstance(arch, Mapping):
        return arch
    if not isinstance(arch, str) or arch not in presets:
        raise bad_value(f'{family} arch', arch, f'one of {sorted(presets)}, or a dict')
    return presets[arch]


def check_ratio(field: str, value: object, width: int) -> float:
    """``value`` as a ratio of hidden channels to ``width``, of one channel at least.

    Raises:
        ValueError: If it is no such number.
    """
    ratio = check_float(field, value, 0, above=True)
    if int(ratio * width) < 1:
        raise bad_value(field, value, f'a number that leaves at least one channel of {width}')
    return ratio


def check_odd(field: str, value: object) -> int:
    """``value`` as an odd positive int, the size of a kernel.

    Raises:
        ValueError: If it is no such number.
    """
    size = check_int(field, value, 1)
    if size % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return size
