"""Evolutionary search over the small GLiT supernet for the heads of each block, the first stage of its search.

Command: ``python tools/search.py configs/demo/glit_search.py --checkpoint CHECKPOINT``, with the checkpoint of
``configs/demo/glit_supernet.py``
"""

_base_ = ['./glit_supernet.py']

search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=[dict(name='evolution', sampler=dict(type='Evolution', num_parents=4), budget=24, population=8)],
    objectives=[dict(name='accuracy/top1')],
    constraints=[dict(name='macs_m', max=24.0)],
    input_size=96,
    calibration=_base_.calibration,
)
