# MMDetection's 3x schedule (ms_3x_coco.py): 12 epochs of three times the images, with steps at 9 and 11.
_base_ = ['./coco_adamw_1x.py']

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
train_cfg = dict(max_epochs=36)
