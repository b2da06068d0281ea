"""The layout of a released GLiT, whose architecture is the preset with the names and shapes of the checkpoint."""

from mmhybrid.models.layouts import Layout, renaming

_GLIT_RULES = (
    *renaming(
        {
            'cls_token': 'backbone.cls_token',
            'pos_embed': 'backbone.pos_embed',
            'patch_embed.proj.': 'backbone.patch_embed.',
            'norm.': 'backbone.norm.',
            'head.': 'head.layers.head.',
        }
    ),
    *renaming(
        {
            'norm1.': 'norm1.',
            'norm2.': 'norm2.',
            'attn.qkv.': 'mixer.attention.qkv.',
            'attn.proj.': 'mixer.attention.proj.',
            'attn.net.1.': 'mixer.conv.expand.',
            'attn.net.3.conv.': 'mixer.conv.dwconv.',
            'attn.net.4.': 'mixer.conv.norm.',
            'attn.net.6.': 'mixer.conv.reduce.',
            'mlp.': 'ffn.',
        },
        r'blocks\.(\d+)\.0\.',
        r'backbone.blocks.\1.',
    ),
)

LAYOUTS = (Layout('blocks.0.0.norm1.weight', _GLIT_RULES),)
