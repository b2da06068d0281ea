"""How processes that work together find each other."""

import atexit

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
