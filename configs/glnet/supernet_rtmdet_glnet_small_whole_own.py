"""RTMDet on images of your own, searched as a whole: GLNet-small's smaller forms, and smaller necks and heads.

Command: ``python tools/train.py configs/glnet/supernet_rtmdet_glnet_small_whole_own.py``, and everything else as with
``supernet_rtmdet_glnet_small_own.py``, in docs/own_data.md
Source: ours.
Published: none.
"""

_base_ = ['./supernet_rtmdet_glnet_small_own.py']

model = dict(
    genes=dict(
        neck=dict(out_channels=[32, 48, 64]),
        bbox_head=dict(feat_channels=[32, 48, 64], stacked_convs=[1, 2]),
    )
)
search_cfg = dict(latency_table='work_dirs/own_whole_latency.json')
