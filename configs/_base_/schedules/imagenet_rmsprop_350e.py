# EfficientNet's schedule (section 5.2) at batch 4096; warm-up, epochs and epsilon are as released. The paper multiplies
# the rate by 0.97 every 2.4 epochs, here that is spread over each of them.
_base_ = ['./no_decay.py']

optim_wrapper = dict(
    optimizer=dict(type='RMSprop', lr=0.256, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='ExponentialLR', gamma=0.97 ** (1 / 2.4), by_epoch=True, begin=5),
]
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=350, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=4096)
