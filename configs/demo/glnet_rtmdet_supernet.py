"""RTMDet on the demo scenes with a supernet around a trained classifier: smaller forms of its GLNet, taught by it.

Command: ``python tools/train.py configs/demo/glnet_rtmdet_supernet.py``, after
``python tools/train.py configs/demo/glnet_cls.py --work-dir work_dirs/classifier``. Its search, for the highest box AP
under a latency by the table of this device, is here too; docs/search.md has the commands.
"""

_base_ = [
    '../_base_/demo/glnet.py',
    '../_base_/demo/rtmdet.py',
    '../_base_/demo/runtime.py',
    '../_base_/distillation/in_place.py',
]

arch = _base_.backbone.arch
dense = dict(out_indices=(1, 2, 3), out_norm_cfg=dict(type='LN2d'))
supernet = dict(
    type='mmhybrid.Supernet',
    space=dict(type='mmhybrid.GLNetSpace', around=arch),
    backbone=dict(type='mmhybrid.GLNet', **dense),
    init_cfg=dict(type='mmhybrid.FromNetwork', arch=arch, checkpoint='work_dirs/classifier/epoch_5.pth'),
)
model = dict(
    _delete_=True,
    type='mmhybrid.OneShot',
    architecture={**_base_.model, 'backbone': supernet},
    **_base_.taught_in_place,
)
# the last hundred training scenes are held out, for this validation and for the search; the test set stays unseen
held_out = dict(_base_.scenes, indices=-100, pipeline=_base_.test_pipeline)
calibration = dict(num_images=64, dataset=dict(_base_.scenes, indices=400, pipeline=_base_.test_pipeline))
val_dataloader = dict(dataset=dict(_delete_=True, test_mode=True, **held_out))
val_evaluator = dict(ann_file=_base_.data_root + _base_.scenes.ann_file)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', num_random=1, calibration=calibration)
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=1))
find_unused_parameters = True

search_cfg = dict(
    type='mmhybrid.SearchLoop',
    stages=dict(
        evolution=dict(sampler=dict(type='Evolution', num_parents=4, mutate_prob=0.2), budget=12, population=6)
    ),
    objectives=[dict(name='coco/bbox_mAP')],
    constraints=dict(latency_ms=dict(max=20.0)),
    latency_table='work_dirs/rtmdet_latency.json',
    input_size=_base_.scale[0],
    calibration=calibration,
)
