"""Coarse-to-fine search over the supernet of AutoViT-XXS on Imagenette, within a budget of MACs.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_imagenette.py --checkpoint CHECKPOINT``, with that
of ``supernet_autovit_xxs_imagenette.py``
Source: ours, a quick check on real photographs.
Published: none.
"""

_base_ = ['./supernet_autovit_xxs_imagenette.py', '../_base_/search/coarse_to_fine.py']

search_cfg = dict(
    stages=dict(
        coarse=dict(budget=1000, population=1000),
        fine=dict(budget=200, population=20, skeletons=dict(count=20)),
    ),
    constraints=dict(macs_m=dict(max=80.0)),
    calibration=_base_.calibration,
)
