"""Supernet around GLNet-STL and GLNet-4G on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/glnet/supernet_glnet_in1k.py 16``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: ours; nobody has searched GLNet yet. The recipe is that of GLNet, table 8, but for stochastic depth.
Published: none.
The published stochastic depth grows with the network, and a supernet has all sizes: it is left to the retraining. Two
parts that the released code adds to the table are left out as well: EMA, since consecutive steps train different
networks, and repeated augmentation, with which an epoch shows a third of the images.
"""

_base_ = [
    '../_base_/models/glnet_supernet.py',
    '../_base_/datasets/imagenet_search_224.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/runtime/cls.py',
]

optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=2048)
val_cfg = dict(_delete_=True, type='mmhybrid.SubnetValLoop', calibration=_base_.calibration)
train_cfg = dict(val_interval=10)
