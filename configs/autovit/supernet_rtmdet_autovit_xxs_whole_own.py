"""RTMDet on images of your own, searched as a whole: AutoViT-XXS's smaller forms, and smaller necks and heads.

Command: ``python tools/train.py configs/autovit/supernet_rtmdet_autovit_xxs_whole_own.py``, and everything else as with
``supernet_rtmdet_autovit_xxs_own.py``, in docs/own_data.md
Source: ours.
Published: none.
"""

_base_ = ['./supernet_rtmdet_autovit_xxs_own.py']

model = dict(
    genes=dict(
        neck=dict(out_channels=[32, 48, 64]),
        bbox_head=dict(feat_channels=[32, 48, 64], stacked_convs=[1, 2]),
    )
)
search_cfg = dict(latency_table='work_dirs/own_whole_latency.json')
