"""How processes that work together (ranks) find each other and end together."""

import atexit
import logging
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, get_world_size, init_dist, is_distributed
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn

from mmhybrid.engine.lifeline import Lifeline, Loss
from mmhybrid.torch_api import is_network_error
from mmhybrid.utils.addresses import without_passwords
from mmhybrid.utils.compiled_code import keep_own_code
from mmhybrid.utils.current_folder import hide_from_children
from mmhybrid.utils.errors import CannotGoOnError, first_line, printable

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# Environment variables that each launcher sets in its processes, as far as MMEngine and torch read them.
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'MASTER_ADDR'),
}
STARTED = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}
# Seconds to wait for the news of a lost rank after an error which that would explain.
NEWS_SECONDS = 5.0
# Messages of gloo and NCCL about a lost rank; torch raises plain RuntimeErrors too.
_LOST_CONNECTION = re.compile(r'gloo|nccl|connection (closed|reset|refused)|broken pipe|socket', re.IGNORECASE)


def join_ranks(cfg: Config) -> None:
    """Connect the processes that ``cfg.launcher`` started, before any runner is built.

    On a machine without a GPU, processes of torchrun communicate by gloo; MMEngine would give each of them a GPU,
    whatever the backend.

    Raises:
        ValueError: If this process was not started by that launcher, or the port of the ranks is taken.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    check_launched(launcher)
    on_cpu = launcher == 'pytorch' and not torch.cuda.is_available()
    if not is_distributed():
        try:
            if on_cpu:
                torch.distributed.init_process_group('gloo')
                atexit.register(
                    torch.distributed.destroy_process_group
                )  # otherwise gloo's threads may outlive the interpreter
            else:
                init_dist(launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
        except RuntimeError as error:
            if not is_network_error(error):
                raise
            raise ValueError(f'--launcher {launcher}: the ranks do not find each other: {first_line(error)}') from error
    if on_cpu:
        wrapper = {
            'type': 'MMDistributedDataParallel',
            'device_ids': None,
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
        cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {})}
        if cfg.get('strategy') is not None:
            cfg.strategy = on_cpus(cfg.strategy)


def check_launched(launcher: str) -> None:
    """Raise ValueError if a variable that ``launcher`` sets in its processes is missing."""
    missing = next((name for name in VARIABLES[launcher] if name not in os.environ), None)
    if missing is not None:
        raise ValueError(
            f'--launcher {launcher}: {missing} is not set, as it is where {STARTED[launcher]} starts processes'
        )


def on_cpus(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy of MMEngine's FlexibleRunner, completed for machines without a GPU.

    FSDP's full optimizer state must not be offloaded to the CPU: torch would keep views of one buffer, and all states
    of a parameter would be saved as the last of them.
    """
    strategy = dict(strategy)
    kind = strategy.get('type', '').rpartition('.')[-1]
    if kind == 'DDPStrategy':
        wrapper = {'type': 'MMDistributedDataParallel', 'device_ids': None, 'broadcast_buffers': False}
        strategy['model_wrapper'] = {**wrapper, **(strategy.get('model_wrapper') or {})}
    elif kind == 'FSDPStrategy':
        wrapper = {'type': 'MMFullyShardedDataParallel', 'device_id': 'cpu'}
        strategy['model_wrapper'] = {**wrapper, **(strategy.get('model_wrapper') or {})}
        if strategy.get('state_dict_cfg') == 'full':
            strategy['state_dict_cfg'] = {
                'state_dict_type': 'FULL_STATE_DICT',
                'state_dict_config': {'type': 'FullStateDictConfig', 'rank0_only': True, 'offload_to_cpu': True},
                'optim_state_dict_config': {
                    'type': 'FullOptimStateDictConfig',
                    'rank0_only': True,
                    'offload_to_cpu': False,
                },
            }
    return strategy


class UntrainedRunner(Runner):
    """A runner that trains nothing and therefore does not wrap its model, since its ranks share no gradients.

    DistributedDataParallel would be slower, and would leave threads of gloo behind that can outlive the interpreter.
    """

    def wrap_model(self, model_wrapper_cfg: Mapping[str, Any] | None, model: nn.Module) -> nn.Module:
        """Return the model on its device, without a wrapper."""
        return revert_sync_batchnorm(model.to(get_device()))


@contextmanager
def together(cfg: Config) -> Iterator[None]:
    """Join the ranks of ``cfg.launcher`` for the block, which ends on all of them; for programs, not for libraries.

    Nothing is done without a launcher. Otherwise each rank waits for the others at the end of the block. If a rank
    raises within the block, or its process dies, the others learn of it and end their processes within seconds, each
    with one sentence.

    Raises:
        CannotGoOnError: If an error of this rank is due to the loss of another.
    """
    join_ranks(cfg)
    if get_world_size() == 1:
        yield
        return
    lifeline = Lifeline(_end_for)
    try:
        yield
        barrier()
    except BaseException as error:
        lifeline.begin_to_end()
        if _is_lost_connection(error) and (loss := lifeline.loss_within(NEWS_SECONDS)):
            raise CannotGoOnError(f'{loss}') from error
        lifeline.fail(_told(error))
        raise
    lifeline.begin_to_end()
    lifeline.leave()


def run(main: Callable[[], None]) -> None:
    """Run a program, and end its process at once if ranks were joined in it; for programs, not for libraries.

    DistributedDataParallel leaves threads of gloo behind, even after ``destroy_process_group``. A thread that outlives
    the interpreter aborts the process ("terminate called without an active exception"). After all exit handlers, the
    process therefore ends without the interpreter's own shutdown. Child processes import nothing from the current
    folder.
    """
    hide_from_children()
    keep_own_code()
    try:
        main()
    except BaseException as error:
        if not is_distributed():
            raise
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if error.code is not None and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)  # noqa: T201
        else:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        _end_process(code)
    if is_distributed():
        atexit._run_exitfuncs()  # multiprocessing ends its processes in the same way; there is no public name for this
        if is_distributed():
            torch.distributed.destroy_process_group()
        _end_process(0)


def _end_for(loss: Loss) -> NoReturn:
    print(loss, file=sys.stderr)  # noqa: T201
    _end_process(1)


def _end_process(code: int) -> NoReturn:
    for worker in multiprocessing.active_children():
        worker.terminate()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _told(error: BaseException) -> str:
    """Return the text about an error for the other ranks."""
    if isinstance(error, KeyboardInterrupt):
        return 'was interrupted'
    return printable(without_passwords(f'ended with {type(error).__name__}: {first_line(error)}'))


def _is_lost_connection(error: BaseException | None) -> bool:
    """Return whether the loss of another rank would explain the error or one of its causes."""
    if error is None:
        return False
    return (isinstance(error, RuntimeError | OSError) and bool(_LOST_CONNECTION.search(f'{error}'))) or (
        _is_lost_connection(error.__cause__ or error.__context__)
    )
