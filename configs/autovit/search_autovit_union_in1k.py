"""Coarse-to-fine search over the supernet of the union of AutoViT's three spaces, at the size of XXS.

Command: ``python tools/search.py configs/autovit/search_autovit_union_in1k.py --checkpoint CHECKPOINT``
Source: AutoViT, section 5.2: one supernet in place of three.
Published: 65.3 % top-1, 1.8 M parameters for the network found; the XXS supernet leads to 71.3 %.
CHECKPOINT is that of the supernet, with or without distillation. The paper bounds the number of parameters alone here.
For a supernet of the free union the search takes the same ``model.architecture.backbone.space.table=union-free``.
"""

_base_ = ['./supernet_autovit_union_in1k.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(constraints=dict(params_m=dict(min=1.0, max=1.8)), calibration=_base_.calibration)
