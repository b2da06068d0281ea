"""What all tests share: Hypothesis judges the code, not how busy the machine is; no test sees another's scope."""

import copy
import gc
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from mmengine.config import Config
from mmengine.config import config as config_files
from mmengine.config import utils as config_utils
from mmengine.dataset import base_dataset
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.runner import loops, runner
from mmengine.visualization import Visualizer
from sqlalchemy import event
from sqlalchemy.engine import Engine
from torch import fx

from mmhybrid.models.supernets import Supernet
from mmhybrid.torch_api import TORCH

MOST_OUTLINES = 100  # a megabyte each
MEMORY, MEMORY_NEEDED = Path('/dev/shm'), 4 * 2**30
# configs of the project, and of hosts, which no test changes
LASTING = (str(Path(__file__).parents[1] / 'configs') + os.sep, str(Path(config_files.__file__).parents[2]) + os.sep)

settings.register_profile('any machine', parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('any machine')


def pytest_configure(config: pytest.Config) -> None:
    """Spare what MMEngine does anew for each config, and what was half of the tests' time.

    For each config that inherits from a host's it looks for the host and reads all its metafiles, which stay as they
    are, as do the files that configs inherit from. Each config that it writes, several a runner, it formats;
    unformatted they say the same. Each runner asks the compilers for their versions, and each data set for a collection
    of garbage, among all modules that are imported. Its loop of iterations sleeps for two seconds behind each epoch,
    for processes that load data of images.
    Torch's exporter makes its tables of operators for each export, and tells for each operator in a graph from which
    lines it comes. What is traced and compiled is made of millions of
    objects, among which Python looks for garbage time and again.
    """
    gc.set_threshold(100_000, 20, 20)
    write_to_memory()
    event.listen(Engine, 'connect', wait_for_no_disk)
    patch = pytest.MonkeyPatch()
    patch.setattr(os, 'fsync', lambda file: None)  # what processes leave that are killed is there without
    patch.setattr(config_utils, 'load', cache(config_utils.load))
    patch.setattr(config_files, 'is_installed', cache(config_files.is_installed))
    patch.setattr(Config, '_file2dict', staticmethod(read_once(Config._file2dict)))
    patch.setattr(config_files, 'FormatCode', lambda text, **options: (text, True), raising=False)  # onedl has none
    patch.setattr(runner, 'collect_env', cache(runner.collect_env))
    patch.setattr(loops, 'time', SimpleNamespace(sleep=lambda seconds: None))
    patch.setattr(base_dataset, 'gc', SimpleNamespace(collect=lambda: 0))
    with suppress(ImportError, AttributeError):  # the exporter of some versions of torch
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        patch.setattr(ONNXRegistry, 'from_torchlib', staticmethod(cache(ONNXRegistry.from_torchlib)), raising=False)
    with suppress(ImportError, AttributeError):
        from torch._export import utils

        patch.setattr(utils, '_materialize_cpp_cia_ops', cache(utils._materialize_cpp_cia_ops))
    patch.setattr(fx.config, 'do_not_emit_stack_traces', True, raising=False)
    # pytest listens to each logger, also to the one for which torch writes down its graphs if anybody listens
    patch.setattr(torch._logging._internal, 'trace_log', logging.Logger('torch.__trace'), raising=False)
    state = TemporaryDirectory()  # where a key of the user's is kept
    config.add_cleanup(state.cleanup)
    patch.setenv('XDG_STATE_HOME', state.name)
    if 'PYTEST_XDIST_WORKER' in os.environ:
        # beside other workers a second thread waits for a core, and the first one spins until it has come
        patch.setenv('OMP_NUM_THREADS', '1')
        torch.set_num_threads(1)
    patch.setattr(Supernet, '_outline', built_once(Supernet._outline))
    config.add_cleanup(patch.undo)


def write_to_memory() -> None:
    """Have temporary files in memory where the system offers a folder there: a disk takes milliseconds for each.

    Nothing changes where the user has chosen a folder, where programs cannot run from that in memory, or where it is
    too small for what the tests write.
    """
    if 'TMPDIR' in os.environ or not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return
    system = os.statvfs(MEMORY)
    if not system.f_flag & os.ST_NOEXEC and system.f_bavail * system.f_frsize >= MEMORY_NEEDED:
        os.environ['TMPDIR'] = str(MEMORY)  # for the processes of tests too
        tempfile.tempdir = None


def read_once(read: Callable[..., tuple[Any, str, dict[str, Any]]]) -> Callable[..., tuple[Any, str, dict[str, Any]]]:
    """Read each config of the project and of the hosts once, and copy it; all that inherit from it do so too."""
    known: dict[tuple[Any, ...], tuple[Any, str, dict[str, Any]]] = {}
    substitute = Config._substitute_predefined_vars

    @wraps(read)
    def copied(filename: str, *args: Any, **options: Any) -> tuple[Any, str, dict[str, Any]]:
        path = os.path.abspath(filename)
        given_variables = Config._substitute_predefined_vars is not substitute
        if given_variables or not path.startswith(LASTING):
            return read(filename, *args, **options)
        key = path, args, tuple(options.items())
        if key not in known:
            known[key] = read(filename, *args, **options)
        return copy.deepcopy(known[key])

    return copied


def built_once(outline: Callable[..., Any]) -> Callable[..., Any]:
    """What supernets look at to know their sizes; those of one space look at the same dozen networks."""
    networks: dict[str, Any] = {}

    @wraps(outline)
    def look_at(supernet: Supernet, arch: Any) -> Any:
        key = repr((supernet.backbone_cfg, supernet.space.decode(arch)))
        if key not in networks:
            if len(networks) == MOST_OUTLINES:
                del networks[next(iter(networks))]
            networks[key] = outline(supernet, arch)
        return networks[key]

    return look_at


def wait_for_no_disk(connection: object, *_: object) -> None:
    """No test cuts the power: SQLite need not wait until a disk has what it wrote."""
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.Error):  # the file is another's, or damaged
            connection.execute('pragma synchronous = off')


@pytest.fixture(autouse=True, scope='module')
def no_module_is_searched_for_garbage_twice() -> None:
    """Modules that are imported stay, and what they hold is looked through by each full collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_scope_is_left():
    """A runner sets MMEngine's default scope for its whole process, in which the next test builds by plain names.

    It also names its visualizer and its messages by the second: the next runner in the same second would take them, and
    write into the folder of another test.
    """
    yield
    named = [DefaultScope, MessageHub, Visualizer]
    for kind in named:
        kind._instance_dict.clear()
        named += kind.__subclasses__()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a newer torch than there is, or operators that do not load beside it."""
    for marker in item.iter_markers('torch_since'):
        if marker.args > TORCH:
            pytest.skip(f'needs torch {".".join(map(str, marker.args))} or newer')
    if item.get_closest_marker('torchvision') and not hasattr(torch.ops.torchvision, 'roi_align'):
        pytest.skip("torchvision's operators do not load here")
