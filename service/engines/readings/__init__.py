"""How each kind of request to a reward model is put to vLLM, and what is read from its answer."""
