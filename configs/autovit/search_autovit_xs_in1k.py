"""Coarse-to-fine search over the supernet of AutoViT-XS, within a latency and a number of parameters.

Command: ``python tools/search.py configs/autovit/search_autovit_xs_in1k.py --checkpoint CHECKPOINT``, after
``python tools/profile_latency.py configs/autovit/supernet_autovit_xs_in1k.py --out work_dirs/latency_xs.json``
Source: AutoViT, algorithm 2, section 4.1, tables 1 and 2.
Published: 75.5 % top-1 at 19.3 ms for the network found, with the weights of its supernet.
The paper says of XXS only that its supernet was distilled. Its network for XS counts 2.64 M parameters in our
reconstruction, 2.5 M in table 2: ``search_cfg.constraints.params_m.max=2.7`` would let it in.
CHECKPOINT is that of the supernet, with or without distillation. The latency is that of the paper's phone; for your
device, set its own by ``--cfg-options search_cfg.constraints.latency_ms.max=MILLISECONDS``.
"""

_base_ = ['./supernet_autovit_xs_in1k.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(
    constraints=dict(params_m=dict(min=1.6, max=2.6), latency_ms=dict(max=19.3)),
    latency_table='work_dirs/latency_xs.json',
    calibration=_base_.calibration,
)
