"""Coarse-to-fine search over the small AutoViT supernet, under a budget of MACs.

Command: ``python tools/search.py configs/demo/autovit_search.py --checkpoint CHECKPOINT``, with the checkpoint of
``configs/demo/autovit_supernet.py``
"""

_base_ = ['./autovit_supernet.py']

search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(
        coarse=dict(
            sampler=dict(type='RandomSampler'),
            budget=200,
            population=200,
            rank_by=dict(name='macs_m'),
        ),
        fine=dict(
            sampler=dict(type='BlockEvolution'),
            budget=24,
            population=8,
            skeletons=dict(stage='coarse', count=8),
        ),
    ),
    objectives=[dict(name='accuracy/top1')],
    constraints=dict(macs_m=dict(max=24.0)),
    calibration=_base_.calibration,
)
