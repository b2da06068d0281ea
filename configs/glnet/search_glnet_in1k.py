"""Evolutionary search over the supernet of GLNet, for networks no larger than GLNet-4G.

Command: ``python tools/search.py configs/glnet/search_glnet_in1k.py --checkpoint CHECKPOINT``, with that of
``supernet_glnet_in1k.py``
Source: ours; nobody has searched GLNet yet. The search is that of SPOS.
Published: none.
"""

_base_ = ['./supernet_glnet_in1k.py', '../_base_/search/evolution.py']

# GLNet-4G has 4482 M
search_cfg = dict(constraints=dict(macs_m=dict(max=4500.0)), input_size=224, calibration=_base_.calibration)
