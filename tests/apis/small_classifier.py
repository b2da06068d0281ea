"""The text of a config: a small classifier with each mixer of GLNet and a batch norm, tested on a folder of images."""

_CONFIG = """
custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
default_scope = 'mmpretrain'
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'],
            local_kernels=[3] * 4, num_slots=[16] * 4, pos_encoding=True, conv_ffn=True)
model = dict(type='ImageClassifier', backbone=dict(type='mmhybrid.GLNet', arch=arch),
             neck=dict(type='GlobalAveragePooling'),
             head=dict(type='LinearClsHead', num_classes={num_classes}, in_channels=32))
data_preprocessor = dict(num_classes={num_classes}, mean={mean}, std={std}, to_rgb=True)
test_dataloader = dict(
    batch_size={batch_size}, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='images', {dataset}
                 pipeline=[dict(type='LoadImageFromFile'), {transform}dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=1)
test_cfg = dict()
"""


def small_classifier(
    num_classes: int, mean: list[int], std: list[int], batch_size: int, dataset: str = '', transform: str = ''
) -> str:
    """With further arguments of the data set, and a transform of its pipeline, as they stand in a config."""
    values = {'num_classes': num_classes, 'mean': mean, 'std': std, 'batch_size': batch_size}
    return _CONFIG.format(**values, dataset=dataset, transform=transform)
