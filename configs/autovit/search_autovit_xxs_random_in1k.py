"""Random search over the supernet of AutoViT-XXS, a baseline of coarse-to-fine search.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_random_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_xxs_in1k.py --out work_dirs/latency_xxs.json``
Source: AutoViT, section 5.4 and table 8.
Published: 66.8 % top-1 for the network found, in 0 GPU hours.
A search in 0 hours evaluates nothing: this one draws until a network keeps the bounds and takes that one. Its accuracy
is that of the exported network (``tools/export_subnet.py``, then ``tools/test.py``).
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``. Another network:
``search_cfg.seed=1``. The best of 1000 evaluated ones, as much as the other searches evaluate, is found with the
stages of ``configs/_base_/search/random.py``.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/search/random.py']

search_cfg = dict(
    stages=dict(random=dict(budget=1, population=1, rank_by=dict(name='params_m', direction='minimize'))),
    constraints=dict(params_m=dict(min=1.0, max=1.8), latency_ms=dict(max=10.2)),
    latency_table='work_dirs/latency_xxs.json',
    calibration=_base_.calibration,
)
