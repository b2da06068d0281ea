"""Coarse-to-fine search over the supernet of AutoViT-XXS without MBConv, within a latency and a number of parameters.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_transformer-only_in1k.py --checkpoint CHECKPOINT``,
after ``python tools/profile_latency.py configs/autovit/supernet_autovit_xxs_transformer-only_in1k.py --out
work_dirs/latency_xxs_transformer-only.json``
Source: AutoViT, section 5.3 and Table 7.
Published: 71.2 % top-1 at 16.1 ms for the network found; the hybrid has 71.3 % at 10.2 ms.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``.
The latencies of the table are not reproduced: this twin of the hybrid is faster on a CPU (14.8 instead of 16.2 ms for
XXS), for which docs/reproduce.md gives the reason. The paper does not describe its transformer-only
network.
"""

_base_ = ['./supernet_autovit_xxs_transformer-only_in1k.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(
    constraints=dict(params_m=dict(min=1.0, max=1.8), latency_ms=dict(max=16.1)),
    latency_table='work_dirs/latency_xxs_transformer-only.json',
    calibration=_base_.calibration,
)
