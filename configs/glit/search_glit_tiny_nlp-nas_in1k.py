"""Evolutionary search over the qkv and MLP ratios of attention blocks, the "NLP-NAS" baseline of GLiT-Tiny.

Command: ``python tools/search.py configs/glit/search_glit_tiny_nlp-nas_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_tiny_nlp-nas_in1k.py``
Source: GLiT, section 4.3 and Table 4.
Published: 73.4 % top-1, 1.4 G FLOPs for the network found, retrained.
"""

_base_ = ['./supernet_glit_tiny_nlp-nas_in1k.py', '../_base_/search/evolution.py']

search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
