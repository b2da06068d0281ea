"""Evolutionary search for the heads of each block of GLiT-Base, the first stage of the hierarchical search.

Command: ``python tools/search.py configs/glit/search_glit_base_distribution_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_base_distribution_in1k.py``
Source: GLiT, sections 3.3 and 4.1, Table 3.
Published: 82.3 % top-1, 17.0 G FLOPs for the network found, retrained.
The bound is a reading: our Base, 17.0 G by the released code's formula, has 18945 M multiply-accumulates in all.
"""

_base_ = ['./supernet_glit_base_distribution_in1k.py', '../_base_/search/evolution.py']

search_cfg = dict(constraints=dict(macs_m=dict(max=19300.0)), input_size=224, calibration=_base_.calibration)
