"""Coarse-to-fine search over the supernet of AutoViT-XXS, within a latency and a number of parameters.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_xxs_in1k.py --out work_dirs/latency_xxs.json``
Source: AutoViT, algorithm 2, section 4.1, tables 1, 2, 6, 7 and 8.
Published: 71.3 % top-1 at 10.2 ms for the network found, in 5 GPU hours, from a supernet with hard distillation.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(
    constraints=dict(params_m=dict(min=1.0, max=1.8), latency_ms=dict(max=10.2)),
    latency_table='work_dirs/latency_xxs.json',
    calibration=_base_.calibration,
)
