"""Evolutionary search over the whole space of GLiT-Tiny at once, in the supernet with shared weights.

Command: ``python tools/search.py configs/glit/search_glit_tiny_flat_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_tiny_flat_in1k.py``
Source: GLiT, section 4.3, for all but the weights of the supernet.
Published: none with shared weights; 72.7 % top-1 with a single path (``search_glit_tiny_flat-single-path_in1k.py``).
"""

_base_ = ['./supernet_glit_tiny_flat_in1k.py', '../_base_/search/evolution.py']

# the published network, 1.4 G by the paper's count, has 1473 M
search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
