"""Supernets: all networks of a search space in one set of weights."""

from mmhybrid.models.supernets.supernet import Supernet

__all__ = ['Supernet']
