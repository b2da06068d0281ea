"""How processes that work together find each other."""

import atexit
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def join_ranks(cfg: Config) -> None:
    """Let the processes that ``cfg.launcher`` started find each other, before any runner is built.

    On a machine without a GPU those of torchrun talk through gloo; MMEngine would give each of them a GPU, whatever the
    backend.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    on_cpu = launcher == 'pytorch' and not torch.cuda.is_available()
    if not is_distributed():
        if on_cpu:
            torch.distributed.init_process_group('gloo')
            atexit.register(torch.distributed.destroy_process_group)  # else gloo's threads may outlive the interpreter
        else:
            init_dist(launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {}))
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


def on_cpus(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy of MMEngine's FlexibleRunner with what it needs where there is no GPU.

    FSDP's optimizer state of all processes is not to be moved to the CPU: torch then keeps views of one buffer, and all
    of a parameter's states are saved as the last of them.
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
