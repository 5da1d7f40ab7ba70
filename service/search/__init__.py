"""One search: the driver between a pure strategy and the engines, and what it keeps count of."""
