"""Search strategies as pure state machines: they decide, and never await, read a clock or open a socket."""
