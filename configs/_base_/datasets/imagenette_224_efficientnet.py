# Ten ImageNet classes at 224 px, normalised and cropped as EfficientNet-Lite's published weights want it.
_base_ = ['./imagenette_160.py']

data_preprocessor = dict(num_classes=10, mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], to_rgb=True)
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 224
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='EfficientNetCenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
