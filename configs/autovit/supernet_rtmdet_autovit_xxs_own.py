"""RTMDet on images of your own, with a supernet around the AutoViT-XXS that was trained on Imagenette, and its search.

Command: ``python tools/train.py configs/autovit/supernet_rtmdet_autovit_xxs_own.py``, after what docs/own_data.md has:
which lines of ``configs/_base_/datasets/own_coco.py`` name the images, and the commands up to the exported front
Source: ours; docs/results.md has what its counterpart with a GLNet reaches.
Published: none.
"""

_base_ = ['../_base_/own_rtmdet.py']

arch = 'xxs'
supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.AutoViTSpace', around=arch, table=dict(resolutions=[256])),  # a detector resizes nothing
    backbone=dict(type='mmhybrid.AutoViT', out_indices=(1, 2, 3), mbpool=False),
    init_cfg=dict(type='mmhybrid.FromNetwork', arch=arch, checkpoint='work_dirs/autovit_xxs_imagenette/epoch_20.pth'),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    architecture={**_base_.model, 'backbone': supernet},
    **_base_.taught_in_place,
)
search_cfg = dict(stages=dict(nsga2=dict(start=[arch])))  # the classifier's own network comes first
