"""Evolutionary search for the sizes in each block of GLiT-Tiny with convolution over the map: the second stage.

Command: ``python tools/search.py configs/glit/search_glit_tiny_conv2d_detail_in1k.py --checkpoint CHECKPOINT``,
with that of ``supernet_glit_tiny_conv2d_detail_in1k.py`` and the FILE that it was given
Source: GLiT, section 4.3 and Table 6 ("Conv2d").
Published: 76.4 % top-1, 1.4 G FLOPs for the network found, retrained.
Networks are retrained with ``--recipe configs/glit/retrain_glit_tiny_in1k.py``.
"""

_base_ = ['./supernet_glit_tiny_conv2d_detail_in1k.py', '../_base_/search/evolution.py']

search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
