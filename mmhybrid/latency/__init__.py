"""How long a network takes: measured, predicted from few measurements, and judged."""
