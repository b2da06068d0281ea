"""Measuring and predicting the latency of networks, and evaluating the predictions."""
