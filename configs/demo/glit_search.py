"""Evolutionary search over the small GLiT supernet for the heads of each block, the first stage of its search.

Command: ``python tools/search.py configs/demo/glit_search.py --checkpoint CHECKPOINT``, with the checkpoint of
``configs/demo/glit_supernet.py``
"""

_base_ = ['./glit_supernet.py', '../_base_/demo/evolution.py']

search_cfg = dict(calibration=_base_.calibration)
