"""Bundles: folders of networks with a program that times them on another machine, and the timings that come back."""

import hashlib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmhybrid.counting.workload import Workload
from mmhybrid.latency import memory, on_device
from mmhybrid.latency.backends import ExportedBackend, backend_class
from mmhybrid.latency.devices import Device
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.on_device import MANIFEST
from mmhybrid.latency.profile import export_missing, plan_passes, setting_of, table_of_passes
from mmhybrid.latency.rounds import Rounds
from mmhybrid.latency.steps import Steps
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.space import Arch
from mmhybrid.utils.checks import check_keys, check_list
from mmhybrid.utils.files import check_target, drop_link_outward, first_difference, read_json, write_json, write_whole

SCRIPT, NETWORKS = 'measure.py', 'networks'
# Largest accepted size of a file of timings in bytes: a hundred times the size for 300 networks in 100 rounds.
LARGEST = 2**26


def write_bundle(workload: Workload, device: Device, plan: Plan, folder: str | Path) -> None:
    """Write networks, a manifest and the program that times them into a folder, which may be partly written already.

    Networks of an earlier bundle that this one does not need are removed.

    Args:
        workload: The networks of the space.
        device: The other machine's device, see :meth:`Device.elsewhere`.
        plan: Which networks are measured, and how often.
        folder: Folder of the bundle; it is created if it does not exist.

    Raises:
        ValueError: If the folder cannot be written.
    """
    backend = backend_class(device.backend)
    assert issubclass(backend, ExportedBackend)
    place = Path(folder)
    if not place.is_dir():
        check_target(place)
        if place.exists():
            raise ValueError(f'{folder}: a file, not a folder')
    place.mkdir(exist_ok=True)
    with Steps() as steps:
        kept = KeptNetworks(place / NETWORKS, workload, backend, device.dtype, device.batch)
        archs, passes = plan_passes(workload, plan)
        export_missing(kept, archs, steps)
    networks = [_described(kept, arch) for arch in archs]
    kept.remove(but={Path(network['file']).name for network in networks})
    number = {arch: i for i, arch in enumerate(archs)}
    groups = {name: [group.archs for group in rounds.groups] for name, rounds in passes.items()}
    manifest = {
        'setting': setting_of(workload, device, plan, archs),
        'networks': networks,
        'passes': {name: [[number[arch] for arch in group] for group in found] for name, found in groups.items()},
    }
    for name in (SCRIPT, MANIFEST):
        drop_link_outward(place / name)
    write_whole(place / SCRIPT, script())
    write_json(place / MANIFEST, manifest)  # written last, so that a bundle with a manifest is complete


def script() -> str:
    """Return the program of a bundle as one file.

    It is :mod:`~mmhybrid.latency.on_device`, which also times networks on this machine.
    """
    text = inspect.getsource(on_device)
    line = f'from {memory.__name__} import kept_memory\n'
    assert text.count(line) == 1
    return text.replace(line, inspect.getsource(memory))


def read_timings(workload: Workload, path: str | Path) -> LatencyTable:
    """Return the latency table of a space, from the timings that a bundle's program wrote on another machine.

    Args:
        workload: The networks of the space, as they were when the bundle was written.
        path: The file of timings; everything in it is checked.

    Raises:
        ValueError: If the file is not from a bundle of this space, or some of its rounds are missing.
    """
    if Path(path).is_file() and Path(path).stat().st_size > LARGEST:
        raise ValueError(f'{path}: {Path(path).stat().st_size} bytes, allowed: at most {LARGEST}')
    return table_of_timings(workload, f'{path}', read_json(path))


def table_of_timings(workload: Workload, name: str, raw: object) -> LatencyTable:
    """Return the table of a file's content, see :func:`read_timings`; error messages begin with ``name``."""
    check_keys(name, raw, ('setting', 'timed', 'again'))
    assert isinstance(raw, Mapping)
    setting = raw['setting']
    check_keys(f'{name}: setting', setting, ('format', *vars(workload.to_config()), 'device', 'plan', 'archs'))
    device = Device.parse(f'{name}: setting.device', setting['device'])
    plan = Plan.parse(f'{name}: setting.plan', setting['plan'])
    another = f'{name}: measured with another config, option or version: setting.'
    # what takes no time comes first: a plan of many networks, in a file that has few
    listed, least = check_list(f'{name}: setting.archs', setting['archs']), plan.held_out * len(workload.sizes())
    if difference := first_difference({**setting, 'archs': []}, setting_of(workload, device, plan, [])):
        raise ValueError(f'{another}{difference}')
    if len(listed) <= least:
        found = f'a list of {len(listed)}' if listed else '[]'
        raise ValueError(f'{another}archs was {found}, now of more than {least} by plan.held_out')
    archs, passes = plan_passes(workload, plan)
    if difference := first_difference(setting, setting_of(workload, device, plan, archs)):
        raise ValueError(f'{another}{difference}')
    for each, rounds in passes.items():
        rounds.restore(f'{name}: {each}', raw[each], plan.repeats)
        _check_complete(f'{name}: {each}', rounds, plan)
    return table_of_passes(workload, device, plan, passes)


def _check_complete(name: str, rounds: Rounds, plan: Plan) -> None:
    """Raise ValueError if rounds are missing."""
    total = plan.repeats * len(rounds.groups)
    if len(rounds) < total:
        raise ValueError(f'{name}: {len(rounds)} of {total} rounds; {SCRIPT} goes on where it was interrupted')


def digest_of(folder: str | Path) -> str:
    """Return 16 hexadecimal digits that identify a bundle."""
    return hashlib.sha256(Path(folder, MANIFEST).read_bytes() + Path(folder, SCRIPT).read_bytes()).hexdigest()[:16]


def files_of(folder: str | Path) -> list[str]:
    """Return the files of a bundle's networks, relative to its folder."""
    return [f'{NETWORKS}/{Path(network["file"]).name}' for network in read_json(Path(folder, MANIFEST))['networks']]


def remove_bundle(folder: str | Path) -> None:
    """Remove a bundle, and its folder if nothing else is in it."""
    place = Path(folder)
    for name in (*files_of(place), SCRIPT, MANIFEST):
        (place / name).unlink(missing_ok=True)
    for emptied in (place / NETWORKS, place):
        with suppress(OSError):
            emptied.rmdir()


def _described(kept: KeptNetworks, arch: Arch) -> dict[str, Any]:
    """Return the manifest's entry of a network."""
    name, content = kept.named_content(arch)
    return {
        'file': f'{NETWORKS}/{name}',
        'sha256': hashlib.sha256(content).hexdigest(),
        'shape': kept.shape(arch),
    }
