"""The heads."""

from mmhybrid.models.heads.token_label_head import TokenLabelHead

__all__ = ['TokenLabelHead']
