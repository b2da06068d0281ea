"""Evolutionary search over the supernet around a small ConvNeXt.

Command: ``python tools/search.py configs/demo/convnext_search.py --checkpoint CHECKPOINT``, with the checkpoint of
``configs/demo/convnext_supernet.py``
"""

_base_ = ['./convnext_supernet.py', '../_base_/demo/evolution.py']

search_cfg = dict(constraints=dict(macs_m=dict(max=12.0)), calibration=_base_.calibration)
