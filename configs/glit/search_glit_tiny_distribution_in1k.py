"""Evolutionary search for the heads of each block of GLiT-Tiny, the first stage of the hierarchical search.

Command: ``python tools/search.py configs/glit/search_glit_tiny_distribution_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_tiny_distribution_in1k.py``
Source: GLiT, sections 3.3 and 4.1, table 4.
Published: 75.4 % top-1, 1.4 G FLOPs for the network found, retrained.
"""

_base_ = ['./supernet_glit_tiny_distribution_in1k.py', '../_base_/search/evolution.py']

# the published network, 1.4 G by the paper's count, has 1473 M
search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
