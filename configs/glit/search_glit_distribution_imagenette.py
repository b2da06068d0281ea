"""Evolutionary search for the heads of each block of a small GLiT on Imagenette, within a budget of MACs.

Command: ``python tools/search.py configs/glit/search_glit_distribution_imagenette.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_distribution_imagenette.py``
Source: ours, a quick check on real photographs.
Published: none.
"""

_base_ = ['./supernet_glit_distribution_imagenette.py', '../_base_/search/evolution.py']

search_cfg = dict(
    stages=dict(evolution=dict(budget=60, population=12)),
    constraints=dict(macs_m=dict(max=45.0)),
    input_size=160,
    calibration=_base_.calibration,
)
