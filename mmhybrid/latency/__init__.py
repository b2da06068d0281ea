"""Measuring and predicting the latency of networks, and judging the predictions."""
