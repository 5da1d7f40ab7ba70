"""Every strategy of the registry, small, for what must hold for all of them."""

from typing import Any

from strategies.registry import STRATEGIES

FLAT: dict[str, dict[str, Any]] = {
    "greedy": {"name": "greedy"},
    "sample": {"name": "sample"},
    "majority_vote": {"name": "majority_vote", "samples": 6},
    "majority_vote, all": {"name": "majority_vote", "samples": 6, "early_stop": "off"},
    "best_of_n": {"name": "best_of_n", "samples": 6},
    "best_of_n, saving": {"name": "best_of_n", "samples": 6, "economy": True},
    "best_of_n, all": {"name": "best_of_n", "samples": 6, "early_stop": "off"},
}
TREES: dict[str, dict[str, Any]] = {
    "beam_search": {"name": "beam_search", "beams": 2, "expansions": 3},
    "beam_search, async": {"name": "beam_search", "beams": 2, "expansions": 2, "mode": "async"},
    "beam_search, lookahead": {"name": "beam_search", "beams": 2, "expansions": 2, "lookahead": 2},
    "dvts": {"name": "dvts", "subtrees": 2, "expansions": 2},
    "rebase": {"name": "rebase", "samples": 6},
    "particle_filter": {"name": "particle_filter", "particles": 6},
    "mcts": {"name": "mcts", "simulations": 6, "expansions": 2, "parallel": 3},
    "mcts, serial": {"name": "mcts", "simulations": 6, "expansions": 2, "parallel": 1},
    "mcts, rollouts": {"name": "mcts", "simulations": 4, "expansions": 2, "evaluation": "rollout"},
}
EVERY = FLAT | TREES
EARLY = {"majority_vote", "best_of_n", "best_of_n, saving"}
"""They cut candidates on the way: where, depends on what came first."""

assert {spec["name"] for spec in EVERY.values()} == STRATEGIES.keys()
