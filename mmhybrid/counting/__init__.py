"""Counts of parameters, multiply-accumulates and activations of networks, part by part."""
