"""What the tools share: a config from the command line, and users' mistakes told in one sentence."""

import errno
import inspect
import os
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import get_world_size
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from mmhybrid.apis.annotation_files import TEST, TRAINING, check_annotation_files
from mmhybrid.apis.config_checks import check_config
from mmhybrid.apis.runtimes import ExportedNetwork
from mmhybrid.apis.same_images import train_on_same_images
from mmhybrid.apis.scoring import check_fits, put_into
from mmhybrid.engine.checkpoint import ResumeCheck
from mmhybrid.engine.evaluated_images import EvaluatedImages
from mmhybrid.engine.ranks import LAUNCHERS, UntrainedRunner, join_ranks
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.checkpoints import check_fit, check_pretrained, read_checkpoint, weights_of
from mmhybrid.utils.addresses import mask_settings, masked, without_passwords
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.errors import LONGEST_MESSAGE, CannotGoOnError, first_line, printable, shortened
from mmhybrid.utils.files import read_text
from mmhybrid.utils.optional import HOSTS, how_to_install, told

TRIALS = 100
LONGEST_PATH = 4096
EXIT_CODE = 2  # argparse's own for a wrong command line
# A disk that is full, or takes nothing.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENAMETOOLONG)
# How the names of MMEngine's functions begin that build what a config describes, or set up what it says.
BUILDERS = ('build', 'from_cfg', 'init_default_scope', 'register_', 'scale_lr', 'setup_', 'set_randomness')
# read from the config by MMEngine, beside the arguments of its Runner
_CONFIG_NAMES = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
)
# of a detector's images, those that undo a flip among them
_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


class Parser(ArgumentParser):
    """An argument parser whose complaints repeat no password."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end the program."""
        super().error(without_passwords(message))


def add_common_arguments(parser: ArgumentParser) -> None:
    """The arguments that every tool which builds a runner has."""
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: ./work_dirs/<name of the config>')
    add_cfg_options(parser)
    add_launcher(parser)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')


class Settings(DictAction):
    """MMEngine's ``KEY=VALUE`` pairs; what is none, or cannot be read, is a wrong command line."""

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


def add_cfg_options(parser: ArgumentParser) -> None:
    """``--cfg-options``, of every tool that reads a config."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=Settings, metavar='KEY=VALUE', help="settings that replace the config's"
    )


def add_launcher(parser: ArgumentParser) -> None:
    """``--launcher``, of every tool that several processes may run together."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='how processes were started')


def add_imports(parser: ArgumentParser) -> None:
    """``--import``, of every command that reads data of classes of a user's own without a config that imports them."""
    parser.add_argument(
        '--import', dest='imports', nargs='+', default=[], metavar='MODULE', help='with backends, spaces of your own'
    )


def import_modules(names: Sequence[str]) -> None:
    """Import what the command line names; ValueError if there is no such module, or it fails."""
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(f'--import {name}: {error}') from error
        except Exception as error:  # a module is a program of the user's: it may raise anything
            raise ValueError(f'--import {name!r}: {type(error).__name__}: {first_line(error)}') from error


def load_config(
    path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None, launcher: str = 'none'
) -> Config:
    """A config file, with the settings of the command line.

    Args:
        path: Python, JSON or YAML file, or the name of a shipped one (``mmhybrid::glnet/glnet_4g_in1k.py``).
        options: Replaced settings, dotted names.
        work_dir: Folder of logs and checkpoints; None for the config's own, or ``./work_dirs/<name of the config>``.
        launcher: One of :data:`LAUNCHERS`.

    Raises:
        ValueError: A missing or broken file, a name that neither the config nor MMEngine's Runner knows, or a setting
            that the config has no place for.
    """
    file = config_file(path)
    try:
        cfg = Config.fromfile(file)
    except Exception as error:  # a config is a program of the user's: it may raise anything
        reason = told(error) if isinstance(error, ImportError) else first_line(error)
        raise ValueError(f'config {path} cannot be read: {type(error).__name__}: {reason}') from error
    if cfg.get('default_scope') in HOSTS and find_spec(cfg.default_scope) is None:
        raise ValueError(f'config {path} needs {cfg.default_scope}: {how_to_install(cfg.default_scope)}')
    check_option_names(options or {}, cfg)
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f'--cfg-options do not fit {path}: {first_line(error)}') from error
    check_config(path, cfg)
    hide_passwords(cfg)
    cfg.work_dir = work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(path).stem)
    if '://' in cfg.work_dir:
        raise bad_value('work_dir', cfg.work_dir, 'a folder of this machine')
    cfg.launcher = launcher
    return cfg


def config_file(path: str) -> str:
    """Where a config is.

    Args:
        path: A file, or a name that MMEngine takes in ``_base_``: ``mmhybrid::glnet/glnet_4g_in1k.py``.

    Raises:
        ValueError: If there is no such file.
    """
    if is_named(path):
        try:
            return str(Config._get_cfg_path(path, '')[0])
        except (AssertionError, ImportError, OSError, ValueError) as error:
            raise ValueError(f'config {path} cannot be found: {first_line(error)}') from error
    if not Path(path).is_file():
        raise ValueError(f'config {path} does not exist')
    return path


def is_named(path: str) -> bool:
    """Whether a config is given by its name in an installed package, not by its file."""
    return '::' in path


def hide_passwords(cfg: Config) -> None:
    """Mask the password of the search's storage, before MMEngine writes the config anywhere."""
    for section in ('search_cfg', 'val_cfg'):
        storage = (cfg.get(section) or {}).get('storage')
        if isinstance(storage, str):
            cfg[section].storage = masked(storage)
    mask_settings(cfg._cfg_dict)


def check_option_names(options: Mapping[str, Any], cfg: Mapping[str, Any]) -> None:
    """Raise ValueError for a top-level name of ``options`` that neither ``cfg`` nor MMEngine's Runner knows."""
    runner_names = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    known = runner_names | set(cfg.keys()) | set(_CONFIG_NAMES)
    for option in options:
        name = option.partition('.')[0]
        if name not in known:
            raise bad_value('--cfg-options', name, f'one of {", ".join(sorted(known))}')


def enable_amp(cfg: Config) -> None:
    """Train with automatic mixed precision."""
    is_freezing = str(cfg.optim_wrapper.get('type')).startswith('mmhybrid.Freezing')
    cfg.optim_wrapper.type = 'mmhybrid.FreezingAmpOptimWrapper' if is_freezing else 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the batch size; ValueError without ``auto_scale_lr.base_batch_size``."""
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError('--auto-scale-lr: the config lacks auto_scale_lr.base_batch_size')
    cfg.auto_scale_lr.enable = True


class Phase(Hook):
    """Whether a runner has built everything and is at work; an error leaves it at that.

    Attributes:
        at_work: From the first iteration on.
        trying: In the first :data:`TRIALS` iterations of a training and in the first validation or test, where parts of
            a config meet that do not fit together.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self.at_work = self.trying = False
        self._num_iters = 0
        self._has_validated = False

    def before_train(self, runner: Runner) -> None:
        """From here on, errors keep their traceback."""
        self.at_work = self.trying = True
        self._num_iters = 0
        self._has_validated = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count."""
        self._num_iters += 1
        self.trying = self._num_iters < TRIALS

    def before_val(self, runner: Runner) -> None:
        """A first validation."""
        self.trying = not self._has_validated

    def after_val(self, runner: Runner) -> None:
        """It is over."""
        self.trying, self._has_validated = self._num_iters < TRIALS, True

    def after_train(self, runner: Runner) -> None:
        """The work is done."""
        self.at_work = self.trying = False

    def before_test(self, runner: Runner) -> None:
        """As before a training."""
        self.at_work = self.trying = True

    after_test = after_train


def train(cfg: Config, same_images: bool = False, phase: Phase | None = None) -> None:
    """Build and run a training.

    Args:
        cfg: Of a training.
        same_images: See :func:`mmhybrid.apis.same_images.train_on_same_images`.
        phase: Gets to know when everything is built; for the tools.

    Raises:
        ValueError: If the config or a checkpoint is wrong; what MMEngine and the hosts find raises as it does there.
    """
    _check_strategy(cfg)
    join_ranks(cfg)
    check_annotation_files(cfg, TRAINING)
    hooks = {'finite_loss': {'type': 'mmhybrid.FiniteLossHook'}, **(cfg.get('default_hooks') or {})}
    if hooks['finite_loss'] is None:  # MMEngine takes None for hooks of its own alone
        del hooks['finite_loss']
    cfg.default_hooks = hooks
    if same_images:
        train_on_same_images(cfg, get_world_size())
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    built = isinstance(runner.model, nn.Module)  # a FlexibleRunner leaves that to its strategy
    if runner._resume:
        path = runner._load_from or latest_checkpoint(runner.work_dir)
        if path is not None and built:
            check_resumable(runner.model, read_checkpoint(path), path)
    elif runner._load_from is not None:
        read_checkpoint(runner._load_from)
        runner.register_hook(FitCheck())
    for module in runner.model.modules() if built else ():
        if not isinstance(module, HybridBackbone):  # which check themselves
            check_pretrained(module)
    runner.register_hook(EvaluatedImages())
    runner.register_hook(ResumeCheck())
    runner.register_hook(phase or Phase())
    runner.train()


def _check_strategy(cfg: Config) -> None:
    """Raise ValueError for checkpoints that nothing of ours could look at before they are unpickled."""
    strategy = str((cfg.get('strategy') or {}).get('type', ''))
    if 'DeepSpeed' in strategy and (cfg.get('resume') or cfg.get('load_from')):
        allowed = (
            'SingleDeviceStrategy, DDPStrategy or FSDPStrategy to resume or load_from: DeepSpeed runs what a file says'
        )
        raise bad_value('strategy.type', strategy, allowed)


def evaluate(
    cfg: Config, out: str | None = None, phase: Phase | None = None, network: ExportedNetwork | None = None
) -> dict[str, float]:
    """Evaluate ``cfg.load_from``, which has to fit the model exactly, or an exported file.

    Args:
        cfg: Of an evaluation.
        out: A .pkl file for the predictions.
        phase: Gets to know when everything is built; for the tools.
        network: What is evaluated in the place of a checkpoint.

    Returns:
        The metrics.

    Raises:
        ValueError: If the config, the checkpoint or the file is wrong; what MMEngine and the hosts find raises as it
            does there.
    """
    join_ranks(cfg)
    check_annotation_files(cfg, TEST)
    cfg.resume = False  # a config that resumes its training is judged here all the same
    runner = UntrainedRunner.from_cfg(cfg)
    if network is None:
        load_weights(runner.model, read_checkpoint(cfg.load_from), cfg.load_from)
    else:
        check_fits(network, cfg)
        put_into(runner.model, network)
    if out is not None:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))
    runner.register_hook(EvaluatedImages())
    runner.register_hook(phase or Phase())
    return dict(runner.test())


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that ``last_checkpoint`` in a work folder names, also where the folder has been moved.

    Raises:
        ValueError: If it names one that is neither there nor in the folder.
    """
    note = Path(work_dir, 'last_checkpoint')
    if not note.exists():
        return None
    named = read_text(note, LONGEST_PATH).strip()
    if Path(named).exists() and named:
        return named
    beside = Path(work_dir, Path(named).name)
    if not named or not beside.exists():
        raise ValueError(f'{note} names {named}, which is neither there nor beside it')
    return str(beside)


def enable_tta(cfg: Config) -> None:
    """Evaluate each image in several versions, and merge what is predicted.

    ``tta_model`` and ``tta_pipeline`` of the config say how. In the place of what is lacking, an image and its mirror
    image are merged: by the average of the scores (classifiers, segmentors), or by non-maximum suppression over the
    boxes of both (detectors).

    Raises:
        ValueError: Without a default for the task, where the config has no test pipeline, or for masks, which
            MMDetection does not merge.
    """
    scope = cfg.get('default_scope')
    models: dict[str, dict[str, Any]] = {
        'mmpretrain': {'type': 'mmpretrain.AverageClsScoreTTA'},
        # MMDetection registers it in MMEngine's root
        'mmdet': {'type': 'DetTTAModel', 'tta_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 100}},
        'mmseg': {'type': 'mmseg.SegTTAModel'},
    }
    tta_model: Any = cfg.get('tta_model') or models.get(scope or '')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if not dataset.get('pipeline'):
        raise ValueError('--tta: the config has no test pipeline')
    if tta_model is None or (not cfg.get('tta_pipeline') and scope not in models):
        raise ValueError('--tta: the config lacks tta_model and tta_pipeline')
    if scope == 'mmdet' and (cfg.model.get('roi_head') or {}).get('mask_head'):
        raise ValueError('--tta: MMDetection merges boxes, not the masks of this model')
    if not cfg.get('tta_pipeline'):
        *steps, pack = dataset['pipeline']
        if scope == 'mmdet':
            pack = {'type': 'PackDetInputs', 'meta_keys': _META_KEYS}
        # the first is the image as it is, whose labels are those of all
        flips = [{'type': 'RandomFlip', 'prob': prob, 'direction': 'horizontal'} for prob in (0.0, 1.0)]
        dataset['pipeline'] = [*steps, {'type': 'TestTimeAug', 'transforms': [flips, [pack]]}]
    else:
        dataset['pipeline'] = cfg.tta_pipeline
    module = dict(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        module.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model = ConfigDict(**tta_model, module=module)


def check_resumable(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Raise ValueError unless ``checkpoint`` holds the state of a training of ``model``; loads its weights."""
    missing = [name for name in ('meta', 'message_hub', 'optimizer') if name not in checkpoint]
    if missing:
        raise ValueError(f'training cannot resume from {path}: it lacks {", ".join(missing)}')
    if not isinstance(checkpoint['meta'], Mapping) or 'config' in checkpoint['meta']:
        # MMEngine's Runner.resume writes ``meta['config']`` to a file and runs it; its own checkpoints have ``cfg``
        raise ValueError(f'training cannot resume from {path}: its meta has a config, which MMEngine would run')
    load_weights(model, checkpoint, path)


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str) -> None:
    """Load the weights, and raise ValueError unless their names and shapes are those of ``model``.

    MMEngine itself only logs a difference.
    """
    target: Any = model.module if is_model_wrapper(model) else model
    if isinstance(target, BaseTTAModel):
        target = target.module
    try:
        keys = target.load_state_dict(weights_of(checkpoint), strict=False)
    except RuntimeError as error:
        mismatches = str(error).splitlines()[1:]
        raise ValueError(f'{path} does not fit the model: {_few(mismatches, 1)}') from error
    problems = [
        f'{kind} {_few(names)}'
        for kind, names in (('missing', keys.missing_keys), ('surplus', keys.unexpected_keys))
        if names
    ]
    if problems:
        raise ValueError(f'{path} does not fit the model: {"; ".join(problems)}')


def _few(items: list[str], count: int = 3) -> str:
    text = ', '.join(item.strip().rstrip('.') for item in items[:count])
    return f'{text} and {len(items) - count} more' if len(items) > count else text


class FitCheck(Hook):
    """Refuses a ``load_from`` of which nothing fits the model, and says what a partial fit leaves out."""

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare before the weights are loaded."""
        wrapped: Any = runner.strategy.model if isinstance(runner, FlexibleRunner) else runner.model
        model = wrapped.module if is_model_wrapper(wrapped) else wrapped
        check_fit(model, weights_of(checkpoint), f'load_from: {runner._load_from}')


@contextmanager
def ending_on_mistakes() -> Iterator[Phase]:
    """End the program with one sentence on stderr and exit code 2 for a user's mistake; for programs alone.

    Work that cannot go on (a search) says why at any time, with exit code 1; a disk that takes no more is told at any
    time too. Other errors, and any error of a runner at work, keep their traceback, but for those that other packages
    raise in its first iterations or validation.

    Yields:
        What tells whether a runner is at work.
    """
    phase = Phase()
    try:
        yield phase
    except CannotGoOnError as error:
        raise SystemExit(_told(f'{error}')) from error
    except Exception as error:
        sentence = _misfit(error) if phase.trying else None if phase.at_work else _mistake(error)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            sentence = ' '.join(str(error).split())
        if sentence is None:
            raise
        print(_told(sentence), file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_CODE) from None


def _told(sentence: str) -> str:
    """What a terminal may show, whatever the sentence repeats of a file."""
    # masking takes the square of the time, and cutting first might leave half a password
    masked_part = without_passwords(shortened(sentence, 4 * LONGEST_MESSAGE))
    return shortened(printable(masked_part))


def _mistake(error: Exception) -> str | None:
    """The sentence for an error that a wrong config or file causes; None for any other error."""
    message = ' '.join(str(error.args[0] if error.args else error).split())
    if isinstance(error, OSError) and error.errno is not None:
        return ' '.join(str(error).split())
    if isinstance(error, UnicodeError):
        return ' '.join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and told(error) != message:
        return told(error)
    if isinstance(error, ValueError) or (isinstance(error, AssertionError) and message):
        return message  # OpenMMLab asserts what it expects of a config
    if isinstance(error, KeyError) and 'registry' in message:
        return message.partition('. Please')[0]
    if isinstance(error, TypeError) and ' argument' in message:
        return message
    calls = traceback.extract_tb(error.__traceback__)
    if any('mmengine' in Path(call.filename).parts and call.name.startswith(BUILDERS) for call in calls):
        return f'what the config describes cannot be built: {_named(error)}'
    return None


def _misfit(error: Exception) -> str | None:
    """The sentence for an error in other packages, which parts of a config cause that do not fit together."""
    place = _origin(error).filename
    if 'site-packages' not in Path(place).parts or 'mmhybrid' in Path(place).parts:
        return None
    return f'what the config describes does not work together: {_named(error)}'


def _named(error: Exception) -> str:
    origin = _origin(error)
    lines = str(error.args[0] if error.args else error).strip().splitlines() or ['no reason given']
    told = lines[0] if len(lines) == 1 else f'{lines[0]} ... {lines[-1]}'
    return f'{type(error).__name__}: {told} ({origin.filename}, line {origin.lineno})'


def _origin(error: BaseException) -> traceback.FrameSummary:
    """The call in which an error arose; a registry raises another error of the same class."""
    while (inside := error.__cause__ or error.__context__) is not None:
        error = inside
    return traceback.extract_tb(error.__traceback__)[-1]
