"""Coarse-to-fine search over the supernet of AutoViT-S, within a latency and a number of parameters.

Command: ``python tools/search.py configs/autovit/search_autovit_s_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_s_in1k.py --out work_dirs/latency_s.json``
Source: AutoViT, algorithm 2, section 4.1, tables 1 and 2.
Published: 79.2 % top-1 at 27.9 ms for the network found, with the weights of its supernet.
The paper says of XXS only that its supernet was distilled.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``.
"""

_base_ = ['./supernet_autovit_s_in1k.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(
    constraints=dict(params_m=dict(min=4.0, max=7.2), latency_ms=dict(max=27.9)),
    latency_table='work_dirs/latency_s.json',
    calibration=_base_.calibration,
)
