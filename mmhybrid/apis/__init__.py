"""What the tools do, as functions that return and raise."""
