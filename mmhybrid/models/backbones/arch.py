"""From the ``arch=`` argument of a backbone to its validated description."""

from collections.abc import Mapping
from typing import Any

from mmhybrid.utils.checks import bad_value


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
