"""Evolutionary search for the sizes in each block of GLiT-Small, the second stage of the hierarchical search.

Command: ``python tools/search.py configs/glit/search_glit_small_detail_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_small_detail_in1k.py`` and the FILE that it was given
Source: GLiT, sections 3.3 and 4.1, Table 3.
Published: 80.5 % top-1, 4.4 G FLOPs for the network found, retrained.
The bound is a reading: our Small, 4.4 G by the released code's formula, has 4902 M multiply-accumulates in all.
"""

_base_ = ['./supernet_glit_small_detail_in1k.py', '../_base_/search/evolution.py']

search_cfg = dict(constraints=dict(macs_m=dict(max=5000.0)), input_size=224, calibration=_base_.calibration)
