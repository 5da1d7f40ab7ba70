"""All strategies by name. A new one is one file and one line here."""

from typing import Annotated

from pydantic import Field

from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.sample import Greedy, SampleOne

StrategySpec = Annotated[Greedy | SampleOne | MajorityVote | BestOfN, Field(discriminator="name")]
"""A strategy's name with its typed, bounded parameters."""
