"""Random search over the whole space of GLiT-Tiny, a baseline of the hierarchical search.

Command: ``python tools/search.py configs/glit/search_glit_tiny_random_in1k.py --checkpoint CHECKPOINT``, with
that of ``supernet_glit_tiny_flat_in1k.py``
Source: GLiT, section 4.3 and table 5.
Published: 73.3 % top-1, 1.3 G FLOPs for the best of five random networks, retrained.
The paper retrains five networks without judging them before: ``--cfg-options search_cfg.stages.0.budget=5``.
"""

_base_ = ['./supernet_glit_tiny_flat_in1k.py', '../_base_/search/random.py']

# the published network, 1.4 G by the paper's count, has 1473 M
search_cfg = dict(constraints=[dict(name='macs_m', max=1500.0)], input_size=224, calibration=_base_.calibration)
