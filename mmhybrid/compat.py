"""What OpenMMLab's last releases need to run with today's packages; all patches of other packages are here.

:func:`apply` runs when mmhybrid is imported. Each fix states its cause, when it does nothing and when it can go.
This file is a long one, since all that is changed in other packages stands in one place.
"""

import importlib.util
import logging
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlparse

import mmengine.fileio.io
import numpy as np
import torch
from mmengine.fileio import PickleHandler, YamlHandler
from mmengine.logging import HistoryBuffer, print_log
from mmengine.registry import Registry

from mmhybrid import mat_files, mmcv_ops
from mmhybrid.torch_api import TORCH, require_torch
from mmhybrid.utils.compiled_code import CACHE
from mmhybrid.utils.current_folder import SAFE
from mmhybrid_autoload import Execute, around_import, find_configs

FSDP = 'mmengine._strategy.fsdp'
MULTIMODAL = 'mmpretrain.models.multimodal'
DATA_FILES = 'mmhybrid.data_files'
HOST_FILES = 'mmhybrid.host_files'
EPS = 'PIL.EpsImagePlugin'
OPENCV, LIBRARY_PATH = 'cv2', 'LD_LIBRARY_PATH'
CHECKPOINT = 'mmengine.runner.checkpoint'
# OpenMMLab's modules that unpickle what a config names as data: images, volumes, lists of tags.
UNPICKLING = ('mmpretrain.datasets.cifar', 'mmseg.utils.io', 'mmpretrain.models.multimodal.ram.ram')
# Torch's modules that start Python (the probe was in codecache before torch 2.4), or say where compiled code goes.
STARTING = tuple(
    f'torch._inductor.{name}'
    for name in ('cpu_vec_isa', 'codecache', 'compile_worker.subproc_pool', 'autotune_process')
)
KEEPING = tuple(f'torch._inductor.runtime.{name}' for name in ('cache_dir_utils', 'runtime_utils'))
COMPILED = (CACHE, 'TRITON_CACHE_DIR')
OPEN_IMAGES = 'mmdet.datasets.openimages'
CROWD_HUMAN, SWAV, DOWNLOADED = (
    'mmdet.datasets.crowdhuman',
    'mmpretrain.engine.hooks.swav_hook',
    'mmpretrain.datasets.utils',
)
TRANSFORMS = 'mmcv.transforms.base'
MATPLOTLIB, MATPLOTLIBRC = 'matplotlib', 'matplotlibrc'
_NUMBERS = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'
_STATISTICS = ('min', 'max', 'current', 'mean')
_TORCHVISION_OPS = ('nms', 'qnms')
_STORES = (r'pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://')  # which MMEngine reads with torch's default
_declared: list[torch.library.Library] = []


def apply() -> None:
    """Run every fix; again is harmless."""
    allow_mmengine_checkpoints()
    if FSDP in sys.modules:
        import_module('mmhybrid.fsdp').mend(sys.modules[FSDP])
    else:
        around_import(FSDP, let_fsdp_resume)
    declare_torchvision_ops()
    mmcv_ops.install()
    mat_files.bound()
    find_configs()
    around_import(MULTIMODAL, import_without_transformers)
    read_data_safely()
    load_weights_only()
    collect_in_temporary_folder()
    unpickle = [(name, unpickle_safely) for name in UNPICKLING]
    starting = [(name, start_elsewhere) for name in STARTING]
    keeping = [(name, keep_all_compiled_code) for name in KEEPING]
    for name, mend in (
        (EPS, refuse_eps),
        (OPENCV, keep_library_path),
        (CHECKPOINT, allow_nothing_more),
        *unpickle,
        (OPEN_IMAGES, load_arrays_safely),
        (CROWD_HUMAN, keep_sizes_in_folder),
        (SWAV, save_queue_in_folder),
        (DOWNLOADED, unpack_in_folder),
        (TRANSFORMS, name_unread_images),
        *starting,
        *keeping,
    ):
        if name in sys.modules:
            mend(sys.modules[name])
        else:
            around_import(name, mend)


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read the checkpoints of MMEngine's runner with ``weights_only=True``.

    Cause: since torch 2.6 this is the default of ``torch.load``, and MMEngine 0.10 neither turns it off nor names the
    globals its message hub pickles: ``HistoryBuffer``, NumPy's arrays and scalars, ``bytes`` (of empty arrays), and
    ``getattr`` (for the buffer's statistics, see :func:`history_buffer_getattr`). ``resume`` and ``load_from`` then end
    in UnpicklingError.
    NumPy's own would read and write memory wherever a file says: an array of objects in a buffer of bytes, a type of
    numbers whose flags call them objects. So a checkpoint gets arrays of plain numbers alone.
    Does nothing for a name the process has allowed already, nor for torch older than 2.6, where
    :mod:`mmhybrid.models.restricted` reads checkpoints.
    Can go when MMEngine allows its own globals.
    """
    allow_globals(_mmengine_globals())


def allow_globals(items: Sequence[Any]) -> None:
    """Let ``torch.load`` name these with ``weights_only=True``, unless the process has allowed others of their names.

    Each is a class or a function, or one with the name that stands for it. Torch older than 2.6 cannot be told.
    """
    if TORCH >= (2, 6):
        taken = {global_name(item) for item in torch.serialization.get_safe_globals()}
        torch.serialization.add_safe_globals([item for item in items if global_name(item) not in taken])


def allow_nothing_more(module: ModuleType, execute: Execute | None = None) -> None:
    """Let onedl-mmengine name no globals of its own while it reads a checkpoint.

    Cause: it allows ``getattr`` as it is, and functions of NumPy besides those of :func:`allow_mmengine_checkpoints`.
    Which of two with one name torch takes is left to chance, and a file needs them to belong together.
    Does nothing with another MMEngine.
    Can go when onedl-mmengine leaves alone what a process has allowed.
    """
    if execute is not None:
        execute(module)
    if hasattr(module, 'get_torch_safe_globals'):
        module.get_torch_safe_globals = list  # type: ignore[attr-defined]


def history_buffer_getattr(owner: object, name: str) -> Any:
    """What ``getattr`` means in a checkpoint: a statistic of ``HistoryBuffer``, or a part of a shard.

    Raises:
        AttributeError: For any other owner or name.
    """
    shards: Any = sys.modules.get('torch.distributed._shard.sharded_tensor')
    if shards is not None and owner is shards.ShardedTensor and name == 'ProcessGroupState':
        return owner.ProcessGroupState  # type: ignore[attr-defined]
    if owner is not HistoryBuffer or not isinstance(name, str) or name not in _STATISTICS:
        raise AttributeError(f'a checkpoint may only take {", ".join(_STATISTICS)} of HistoryBuffer, not {name!r}')
    return vars(HistoryBuffer)[name]


def no_bytes() -> bytes:
    """What ``bytes`` means in a checkpoint: none, which pickles write as the class without arguments."""
    return b''


def let_fsdp_resume(module: ModuleType, execute: Execute) -> None:
    """Import MMEngine's ``FSDPStrategy``, and mend its resuming: see :mod:`mmhybrid.fsdp`."""
    execute(module)
    import_module('mmhybrid.fsdp').mend(module)


def _mmengine_globals() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]
    functions = [  # NumPy 2 renamed the module, and checkpoints outlive it
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('_core', 'core')
        for function, name in ((empty_array, '_reconstruct'), (scalar, 'scalar'))
    ]
    # named by every array, but called by none; a name that no file can hold lets arrays be filled
    array = [(refuse_call, 'numpy.ndarray'), (np.ndarray, 'numpy\nndarray')]
    numbers = [type(np.dtype(code)) for code in _NUMBERS]
    return [
        HistoryBuffer,
        (history_buffer_getattr, 'builtins.getattr'),
        (no_bytes, 'builtins.bytes'),
        *array,
        (dtype_of_numbers, 'numpy.dtype'),
        *functions,
        *numbers,
    ]


def empty_array(*_: object) -> np.ndarray:
    """The array that a checkpoint fills afterwards, whatever class, shape and type it asks for."""
    return np.empty(0, np.int8)


def refuse_call(*_: object) -> NoReturn:
    """What is in the place of NumPy's array class, which weights name and do not call."""
    raise TypeError('a checkpoint may not make an array of its own')


def dtype_of_numbers(code: object, *_: object) -> np.dtype:
    """What ``dtype`` means in a checkpoint: a type of numbers as NumPy has it, of which no state can be changed.

    Raises:
        TypeError: If it is another type.
    """
    known = {np.dtype(number).str[1:]: np.dtype(number) for number in _NUMBERS}
    if not isinstance(code, str) or code not in known:
        raise TypeError(f'a checkpoint may only have NumPy arrays of numbers, not of {code!r}')
    return known[code]


def global_name(item: Any) -> str:
    """Under which name torch allows an item of ``get_safe_globals``."""
    return item[1] if isinstance(item, tuple) else f'{item.__module__}.{item.__qualname__}'


def read_checkpoints_safely(load_local: Callable[[str, Any], Any]) -> None:
    """Let MMEngine read checkpoints without running what they hold, wherever they are.

    Cause: what MMEngine 0.10 downloads is read with ``torch.hub.load_state_dict_from_url``, whose default is
    ``weights_only=False`` to this day: an address in ``load_from``, in an ``init_cfg`` or on the command line runs the
    code of the file. Local files are read with torch's default, the same before 2.6, and without checksums and
    safetensors. onedl-mmengine turns to ``weights_only=False`` where a file is refused.
    Runs when :mod:`mmhybrid.models.checkpoints` is imported; again is harmless.
    Can go when MMEngine reads both with ``weights_only=True``.

    Args:
        load_local: Reads a file; takes its path and the location to map to.
    """
    from mmengine.runner import checkpoint  # a second of imports, which ``import mmhybrid`` spares

    def load_from_local(filename: str, map_location: Any) -> Any:
        return load_local(filename, map_location)

    checkpoint.CheckpointLoader.register_scheme('', loader=load_from_local, force=True)
    checkpoint.load_url = partial(_load_from_url, load_local)
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = partial(_load_from_anywhere, load_local)
    if TORCH < (2, 6):
        checkpoint.CheckpointLoader.register_scheme(_STORES, loader=_refuse_store, force=True)


def _load_from_anywhere(
    load_local: Callable[[str, Any], Any], file: Any, map_location: Any = None, weights_only: bool | None = None
) -> Any:
    """In the place of onedl-mmengine's reader, which turns to ``weights_only=False`` where a file is refused."""
    if isinstance(file, str | Path):
        return load_local(str(file), map_location)
    return torch.load(file, map_location=map_location, weights_only=True)


def _refuse_store(filename: str, map_location: Any = None) -> NoReturn:
    require_torch((2, 6), f'reading {filename} without running what it holds')
    raise AssertionError


def _load_from_url(
    load_local: Callable[[str, Any], Any],
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
) -> Any:
    """What ``torch.hub.load_state_dict_from_url`` does, which would unpack archives too."""
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(urlparse(url).path).name
    if not path.exists():
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    return load_local(str(path), map_location)


def declare_torchvision_ops() -> None:
    """Let torchvision be imported where its compiled operators cannot be loaded.

    Cause: torchvision's wheel is built for CUDA. Beside a CPU build of torch its library lacks its dependencies, and
    ``import torchvision`` fails with "operator torchvision::nms does not exist", although mmpretrain needs no more than
    its transforms. Declared, the operators exist; calling one still raises.
    Does nothing where torchvision is not installed, is imported, has no library where it is looked for, or its library
    loads (the very library and call that ``import torchvision`` uses, so that it finds its operators registered once).
    Can go when torchvision imports without its library, or CPU wheels are what package indexes offer by default.
    """
    if hasattr(torch.ops.torchvision, 'nms'):
        return
    spec = importlib.util.find_spec('torchvision')
    libraries = [] if spec is None or spec.origin is None else _libraries(Path(spec.origin).parent)
    if not libraries or _load(libraries):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in _TORCHVISION_OPS:
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _declared.append(library)  # the declarations live as long as the library object


def _libraries(package: Path) -> list[Path]:
    """The libraries of torchvision's operators: ``_C``, since 0.29 ``_C_stable``."""
    return sorted(path for suffix in EXTENSION_SUFFIXES for path in package.glob(f'_C*{suffix}'))


def _load(libraries: list[Path]) -> bool:
    for path in libraries:
        try:
            torch.ops.load_library(path)
        except (ImportError, OSError):
            continue
        if hasattr(torch.ops.torchvision, 'nms'):
            return True
    return False


def import_without_transformers(module: ModuleType, execute: Execute) -> None:
    """Import MMPretrain's multimodal models, or leave them out where they do not run with the installed transformers.

    Cause: they import names of transformers 4.28 that it dropped since, and MMPretrain imports them wherever
    transformers is installed. So it fails as a whole, although all else needs no transformers. Left out, they are
    placeholders that say why when one is built, as MMPretrain's own do where transformers is not installed.
    Does nothing where their import works.
    Can go when MMPretrain follows transformers, or asks for the versions that it works with.
    """
    from mmpretrain.registry import MODELS
    from mmpretrain.utils import dependency

    before = set(MODELS.module_dict)
    try:
        execute(module)
    except Exception as error:  # a name that is missing shows as ImportError, AttributeError or TypeError
        if not dependency.WITH_MULTIMODAL:
            raise
        for name in set(MODELS.module_dict) - before:
            del MODELS.module_dict[name]
        reason = f'{type(error).__name__}: {error}'
        print_log(f'{_no_multimodal(reason)}; all else of it works', logger='current', level=logging.INFO)
        dependency.WITH_MULTIMODAL = False
        dependency.register_multimodal_placeholder = lambda names, registry: _leave_out(names, registry, reason)
        execute(module)


def _leave_out(names: list[str], registry: Registry, reason: str) -> None:
    for name in names:

        def explain(*args: object, name: str = name, **kwargs: object) -> NoReturn:
            raise ImportError(f'{name}: {_no_multimodal(reason)}')

        registry.register_module(name=name, module=explain)


def refuse_eps(module: ModuleType, execute: Execute | None = None) -> None:
    """Let Pillow refuse EPS, which it reads with Ghostscript alone.

    Cause: MMSegmentation reads label maps, and MMCV images with ``imdecode_backend='pillow'``, in any format that
    Pillow knows, whatever a file is called. EPS is a program, and Pillow has Ghostscript run it.
    Does nothing where Pillow has used a Ghostscript already, or was told of one.
    Can go when MMCV names the formats that it reads.
    """
    if execute is not None:
        execute(module)
    if module.gs_binary is None:
        module.gs_binary = False  # type: ignore[attr-defined]


def keep_library_path(module: ModuleType, execute: Execute | None = None) -> None:
    """Let OpenCV add no entry for the current folder to ``LD_LIBRARY_PATH``.

    Cause: where the variable is not set, OpenCV ends it in a colon. The empty entry behind it stands for the current
    folder, from which all programs that are started later, such as the compiler that MMEngine asks for its version,
    would load libraries. An entry that was there before stays.
    Can go when OpenCV adds no empty entry.
    """
    before = os.environ.get(LIBRARY_PATH)
    if execute is not None:
        execute(module)
        if before and '' in before.split(':'):
            return
    if LIBRARY_PATH in os.environ:
        os.environ[LIBRARY_PATH] = ':'.join(filter(None, os.environ[LIBRARY_PATH].split(':')))


def read_data_safely() -> None:
    """Let MMEngine read pickles and YAML without running what they hold.

    Cause: ``mmengine.load`` picks the reader by a file's ending. Annotations, proposals, results and whatever else a
    config names as data run the code of their file where that ends in ``.pkl``, ``.pickle``, ``.yaml`` or ``.yml``:
    ``pickle.load`` and ``yaml.load`` with its full loader. Configs in YAML are read with the same, and stay plain.
    Can go when MMEngine reads both safely.
    """

    def load_pickle(self: PickleHandler, file: Any, **kwargs: Any) -> Any:
        return import_module(DATA_FILES).load(file, **kwargs)

    def load_yaml(self: YamlHandler, file: Any, **kwargs: Any) -> Any:
        return import_module(DATA_FILES).load_yaml(file, **kwargs)

    PickleHandler.load_from_fileobj = load_pickle  # type: ignore[method-assign]
    YamlHandler.load_from_fileobj = load_yaml  # type: ignore[method-assign]
    if not hasattr(load := mmengine.fileio.io.load, '__wrapped__'):
        load_named = _naming_the_file(load)
        for module in list(sys.modules.values()):  # those too that have taken it from there already
            if getattr(module, '__dict__', {}).get('load') is load:
                module.load = load_named  # type: ignore[attr-defined]


def _naming_the_file(load: Callable[..., Any]) -> Callable[..., Any]:
    """``mmengine.load``, whose handlers do not know which file they read."""

    @wraps(load)
    def load_named(file: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return load(file, *args, **kwargs)
        except ValueError as error:
            data_files = sys.modules.get(DATA_FILES)
            if data_files is not None and isinstance(error, data_files.UnsafeDataError):
                raise data_files.UnsafeDataError(f'{file}: {error}') from error
            raise

    return load_named


def load_weights_only() -> None:
    """Let ``torch.load`` read files as checkpoints are read here, unless its caller says what is to be read.

    Cause: before torch 2.6 it unpickles, and parts of OpenMMLab rely on that: prototypes of MMPretrain's retrieval,
    the queue of SwAV in the work directory, codebooks, timm's and MMDetection's caches. Since then it reads weights
    alone, but returns memory of the process where a file asks for values without having them, and believes before
    torch 2.10 what a file claims to have.
    Can go when OpenMMLab reads these files as checkpoints.
    """
    if hasattr(torch.load, '__wrapped__'):
        return
    load = torch.load

    @wraps(load)
    def load_weights(f: Any, map_location: Any = None, pickle_module: Any = None, **options: Any) -> Any:
        if options.get('weights_only') is not None or pickle_module is not None:
            return load(f, map_location, pickle_module, **options)
        if isinstance(f, str | Path):
            return import_module('mmhybrid.models.checkpoints').load_local(f'{f}', map_location)
        return load(f, map_location, **{**options, 'weights_only': True})

    torch.load = load_weights


def collect_in_temporary_folder() -> None:
    """Let ranks of one machine hand each other results in the system's folder for temporary files.

    Cause: MMEngine makes a folder below ``.dist_test`` of the current folder for them, and unpickles what is there in
    the end. Who owns the current folder, or has made ``.dist_test``, may put another folder in its place; the system's
    is sticky. Where a config has a ``collect_dir``, or ranks are on several machines, results go where they went.
    Can go when MMEngine does not unpickle them.
    """
    dist = import_module('mmengine.dist.dist')
    if hasattr(collect := dist.collect_results_cpu, '__wrapped__'):
        return

    @wraps(collect)
    def collect_results_cpu(result_part: list, size: int, tmpdir: str | None = None) -> list | None:
        world_size = dist.get_world_size()
        if tmpdir is None and world_size > 1 and os.environ.get('LOCAL_WORLD_SIZE') == f'{world_size}':
            names = [tempfile.mkdtemp() if dist.get_rank() == 0 else '']
            dist.broadcast_object_list(names, 0)
            tmpdir = names[0]
        found: list | None = collect(result_part, size, tmpdir)
        return found

    vars(dist)['collect_results_cpu'] = collect_results_cpu
    vars(import_module('mmengine.dist'))['collect_results_cpu'] = collect_results_cpu


def unpickle_safely(module: ModuleType, execute: Execute | None = None) -> None:
    """Let a module of OpenMMLab unpickle data as :func:`read_data_safely` does, whatever it calls ``pickle`` for.

    Cause: CIFAR's files, volumes with ``decode_backend='pickle'`` and RAM's lists of tags are read with ``pickle``.
    Can go when OpenMMLab reads them safely.
    """
    if execute is not None:
        execute(module)
    data_files = import_module(DATA_FILES)
    module.pickle = _with(pickle, load=data_files.load, loads=data_files.loads)  # type: ignore[attr-defined]


def load_arrays_safely(module: ModuleType, execute: Execute | None = None) -> None:
    """Let MMDetection read OpenImages' tree of classes without running what its file holds.

    Cause: it is read by ``np.load`` with ``allow_pickle=True``.
    Can go when MMDetection reads it safely.
    """
    if execute is not None:
        execute(module)
    module.np = _with(np, load=import_module(DATA_FILES).load_array)  # type: ignore[attr-defined]


def keep_sizes_in_folder(module: ModuleType, execute: Execute | None = None) -> None:
    """Let MMDetection write the sizes of CrowdHuman's images beside them alone.

    Cause: it writes ``id_hw_train.json`` or ``id_hw_val.json`` where there is none yet, and a link of that name that
    leads to no file is none. What it writes are the file's own IDs.
    Can go when MMDetection follows no link there.
    """
    if execute is not None:
        execute(module)
    module.dump = import_module(HOST_FILES).dump_own  # type: ignore[attr-defined]


def save_queue_in_folder(module: ModuleType, execute: Execute | None = None) -> None:
    """Let MMPretrain write SwAV's queue in the work folder alone, whatever a link of its name leads to.

    Can go when MMPretrain follows no link there.
    """
    if execute is not None:
        execute(module)
    module.torch = _with(torch, save=import_module(HOST_FILES).save_own)  # type: ignore[attr-defined]


def unpack_in_folder(module: ModuleType, execute: Execute | None = None) -> None:
    """Let MMPretrain unpack CIFAR and MNIST through no link; again is harmless.

    Cause: it unpacks what it downloads, and what it finds downloaded, over whatever has the names of its files.
    Can go when MMPretrain follows no link there.
    """
    if execute is not None:
        execute(module)
    if not isinstance(unpack := module.extract_archive, partial):
        module.extract_archive = partial(import_module(HOST_FILES).unpack_own, unpack)  # type: ignore[attr-defined]


def name_unread_images(module: ModuleType, execute: Execute | None = None) -> None:
    """Let an image that OpenCV or Pillow refuses be named; again is harmless.

    Cause: MMCV decodes what it has read from a file, so that errors of both, such as of an image with more pixels than
    their limits, say nothing of the file.
    Can go when MMCV names it.
    """
    if execute is not None:
        execute(module)
    if hasattr(call := module.BaseTransform.__call__, '__wrapped__'):
        return

    @wraps(call)
    def transform(self: Any, results: Any) -> Any:
        try:
            return call(self, results)
        except Exception as error:
            import_module('mmhybrid.utils.images').raise_named(error, self, results)
            raise

    module.BaseTransform.__call__ = transform


def _with(module: ModuleType, **others: Any) -> ModuleType:
    """A module with others in the place of some of its functions."""
    changed = ModuleType(module.__name__, module.__doc__)
    vars(changed).update({'__getattr__': partial(getattr, module), **others})
    return changed


def start_elsewhere(module: ModuleType, execute: Execute | None = None) -> None:
    """Let torch start its Python processes in the root folder.

    Cause: its probe for vector instructions and its compile workers load torch in the current folder, from where a CUDA
    build takes libraries (:mod:`mmhybrid.utils.current_folder`). The probe also runs ``python -c "from ctypes import
    ..."``, whose first path is that folder before Python 3.11, which has no PYTHONSAFEPATH.
    Can go when cusparselt names no empty folder, with Python 3.10.
    """
    if execute is not None:
        execute(module)

    def start(call: Callable[..., Any], words: Any, *args: Any, **options: Any) -> Any:
        if isinstance(words, list) and words[:1] == [sys.executable]:
            environment = options.get('env') or os.environ
            folders = {name: os.path.abspath(environment[name]) for name in COMPILED if environment.get(name)}
            options = {'cwd': SAFE, **options, 'env': {**environment, **folders}}
        return call(words, *args, **options)

    calls = {name: partial(start, getattr(subprocess, name)) for name in ('run', 'check_call', 'Popen')}
    module.subprocess = _with(subprocess, **calls)  # type: ignore[attr-defined]


def keep_all_compiled_code(module: ModuleType, execute: Execute | None = None) -> None:
    """Let torch keep whatever it compiles in the folder that TORCHINDUCTOR_CACHE_DIR names.

    Cause: precompiled headers and some caches go to the default folder nevertheless. That has a known name in the
    system's folder for temporary files, and whoever makes it first owns what is compiled into each kernel.
    Does nothing where the variable is not set, nor where the module only takes the function from another one.
    Can go when torch follows the variable everywhere.
    """
    if execute is not None:
        execute(module)
    folder = os.environ.get(CACHE)
    default = getattr(module, 'default_cache_dir', None)
    if folder and getattr(default, '__module__', None) == module.__name__:
        own = os.path.abspath(folder)
        module.default_cache_dir = lambda: own  # type: ignore[attr-defined]


def hide_matplotlibrc_here() -> None:
    """Let Matplotlib, once it is imported, read no ``matplotlibrc`` of the current folder; for programs alone.

    Cause: Matplotlib looks there first, and the folder may be one of others, a search's that a report is made of, say.
    Before 3.10.9 it evaluates what the file says of ``axes.prop_cycle``; with any release the file names a module that
    is imported (``backend``), or has LaTeX draw the pictures. The user's own files and variables count as ever.
    Does nothing where Matplotlib is imported already; again is harmless.
    """
    around_import(MATPLOTLIB, _without_matplotlibrc_here)


def _without_matplotlibrc_here(module: ModuleType, execute: Execute) -> None:
    exists = os.path.exists

    def exists_elsewhere(path: Any) -> bool:
        return path != MATPLOTLIBRC and exists(path)

    os.path.exists = exists_elsewhere  # type: ignore[assignment]
    try:
        execute(module)
    finally:
        os.path.exists = exists


def _no_multimodal(reason: str) -> str:
    return (
        f"MMPretrain's multimodal models were written for transformers 4.28 and do not run with transformers "
        f'{version("transformers")} ({reason})'
    )
