"""Evolutionary search over the supernet of AutoViT-XXS, a baseline of coarse-to-fine search.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_evolution_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_xxs_in1k.py --out work_dirs/latency_xxs.json``
Source: AutoViT, section 5.4 and table 8.
Published: 70.7 % top-1 for the network found, in 12 GPU hours.
It evaluates as many networks as coarse-to-fine search (5 GPU hours in the paper, which does not say how many evolution
evaluated in its 12): ``search_cfg.stages.evolution.budget=2400`` spends as much more. The report says how long it took.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/search/evolution.py']

search_cfg = dict(
    constraints=dict(params_m=dict(min=1.0, max=1.8), latency_ms=dict(max=10.2)),
    latency_table='work_dirs/latency_xxs.json',
    calibration=_base_.calibration,
)
