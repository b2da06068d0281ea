"""Evolutionary search for the sizes in each block of GLiT-Tiny, the second stage of the hierarchical search.

Command: ``python tools/search.py configs/glit/search_glit_tiny_detail_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_tiny_detail_in1k.py``
Source: GLiT, sections 3.3 and 4.1, tables 3, 4, 5 and 6.
Published: 76.3 % top-1, 1.4 G FLOPs for the network found, retrained.
The heads of each block are the published ones. For those that your own first stage found, train the supernet and
search with ``--cfg-options model.architecture.backbone.space.distribution=FILE``: its ``best_arch.json``,
``best_retrained.json`` or ``topk.csv:RANK``.
"""

_base_ = ['./supernet_glit_tiny_detail_in1k.py', '../_base_/search/evolution.py']

# the published network, 1.4 G by the paper's count, has 1473 M
search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
