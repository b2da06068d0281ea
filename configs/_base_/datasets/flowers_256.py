# Oxford Flowers in data/flowers102 (jpg/, imagelabels.mat, setid.mat): 2,040 images to train on, 6,149 to test on.
# Augmented as ImageNet is, but that a crop shows half of the image at least.
_base_ = ['./imagenet_256.py']

data_preprocessor = dict(num_classes=102)
train_pipeline = _base_.train_pipeline
train_pipeline[1].crop_ratio_range = (0.5, 1.0)
dataset = dict(type='Flowers102', data_root='data/flowers102')
train_dataloader = dict(
    batch_size=64, dataset=dict(_delete_=True, **dataset, split='trainval', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(_delete_=True, **dataset, split='test', pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
