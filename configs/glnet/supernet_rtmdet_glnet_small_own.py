"""RTMDet on images of your own, with a supernet around a small GLNet that was trained on Imagenette, and its search.

Command: ``python tools/train.py configs/glnet/supernet_rtmdet_glnet_small_own.py``, after what docs/own_data.md has:
which lines of ``configs/_base_/datasets/own_coco.py`` name the images, and the commands up to the exported front
Source: ours; see docs/results.md for what it reaches on generated scenes.
Published: none.
"""

_base_ = ['../_base_/models/glnet_small.py', '../_base_/own_rtmdet.py']

arch = _base_.glnet_small
supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.GLNetSpace', around=arch),
    backbone=dict(type='mmhybrid.GLNet', out_indices=(1, 2, 3), out_norm_cfg=dict(type='LN2d')),
    init_cfg=dict(type='mmhybrid.FromNetwork', arch=arch, checkpoint='work_dirs/glnet_small_imagenette/epoch_20.pth'),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    architecture={**_base_.model, 'backbone': supernet},
    **_base_.taught_in_place,
)
search_cfg = dict(stages=dict(nsga2=dict(start=[arch])))  # the classifier's own network comes first
