"""The stack on one machine: what `mull up` starts, watches and stops again."""
