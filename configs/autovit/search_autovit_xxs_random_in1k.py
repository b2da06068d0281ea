"""Random search over the supernet of AutoViT-XXS, a baseline of coarse-to-fine search.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_random_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_xxs_in1k.py --out work_dirs/latency_xxs.json``
Source: AutoViT, section 5.4 and table 8.
Published: 66.8 % top-1 for the network found, in 0 GPU hours.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device put its own, ``--cfg-options search_cfg.constraints.1.max=MILLISECONDS``.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/search/random.py']

search_cfg = dict(
    constraints=[dict(name='params_m', min=1.0, max=1.8), dict(name='latency_ms', max=10.2)],
    latency_table='work_dirs/latency_xxs.json',
    calibration=_base_.calibration,
)
