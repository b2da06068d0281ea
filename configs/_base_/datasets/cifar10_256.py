# CIFAR-10 in data/cifar10, which the data set downloads itself, enlarged to 256 px; the images come in RGB order.
# Augmented as ImageNet is, but that a crop shows half of the image at least, and shows all of it in the test.
_base_ = ['./imagenet_256.py']

data_preprocessor = dict(num_classes=10, to_rgb=False)
train_pipeline = _base_.train_pipeline[1:]
train_pipeline[0].crop_ratio_range = (0.5, 1.0)
rgb_mean = _base_.data_preprocessor.mean
train_pipeline[2].hparams.pad_val = [round(x) for x in rgb_mean]
train_pipeline[3].update(fill_color=rgb_mean, fill_std=_base_.data_preprocessor.std)
test_pipeline = [
    dict(type='Resize', scale=256, backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
dataset = dict(type='CIFAR10', data_root='data/cifar10')
train_dataloader = dict(batch_size=64, dataset=dict(_delete_=True, **dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(_delete_=True, **dataset, split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
