# Supernet training of GLiT (section 4.1): SGD with Nesterov momentum, batch 1024.
_base_ = ['./no_decay.py']

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, end=100, convert_to_iter_based=True)]
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
