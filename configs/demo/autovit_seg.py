"""UperNet with a small AutoViT on the demo data.

Command: ``python tools/train.py configs/demo/autovit_seg.py``, after ``python tools/make_demo_data.py data/demo``
"""

_base_ = ['../_base_/demo/autovit.py', '../_base_/demo/seg.py', '../_base_/demo/runtime.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.backbone, **_base_.dense),
    decode_head=dict(in_channels=_base_.channels),
    auxiliary_head=dict(in_channels=_base_.channels[2]),
)
