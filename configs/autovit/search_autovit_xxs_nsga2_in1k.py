"""Accuracy against MACs over the supernet of AutoViT-XXS, by NSGA-II.

Command: ``python tools/search.py configs/autovit/search_autovit_xxs_nsga2_in1k.py --checkpoint CHECKPOINT``, with that
of the supernet
Source: ours, with the space and the range of parameters of AutoViT, table 1.
Published: none.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py', '../_base_/search/nsga2.py']

search_cfg = dict(constraints=dict(params_m=dict(min=1.0, max=1.8)), calibration=_base_.calibration)
