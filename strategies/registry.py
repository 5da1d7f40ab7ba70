"""All strategies by name. A new one is one file and one line here."""

from typing import Annotated, get_args

from pydantic import Field

from strategies.beam_search import BeamSearch
from strategies.best_of_n import BestOfN
from strategies.dvts import Dvts
from strategies.majority_vote import MajorityVote
from strategies.mcts import Mcts
from strategies.particle_filter import ParticleFilter
from strategies.rebase import Rebase
from strategies.sample import Greedy, SampleOne
from strategies.spec import Spec

StrategySpec = Annotated[
    Greedy | SampleOne | MajorityVote | BestOfN | BeamSearch | Dvts | Rebase | ParticleFilter | Mcts,
    Field(discriminator="name"),
]
"""A strategy's name with its typed, bounded parameters."""
STRATEGIES: dict[str, type[Spec]] = {
    kind.model_fields["name"].default: kind for kind in get_args(get_args(StrategySpec)[0])
}
"""The classes by name, in this order."""
