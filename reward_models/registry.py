"""All reward model families by name. A new one is one file and one line in each of the two lists here."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reward_models.classifier import Classifier
from reward_models.judge import Judge
from reward_models.label_token import LabelToken
from reward_models.math_shepherd import MathShepherd
from reward_models.protocol import Family
from reward_models.qwen_prm import QwenPRM
from reward_models.qwen_rm import QwenRM
from reward_models.rlhflow import RLHFlow
from reward_models.skywork import Skywork


def _named(family: Any) -> Any:
    """A bare name is a family with its defaults."""
    return {"name": family} if isinstance(family, str) else family


FamilySpec = Annotated[
    Annotated[
        LabelToken | MathShepherd | RLHFlow | QwenPRM | Skywork | QwenRM | Classifier | Judge,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
"""Any family, told apart by its `name`."""

FAMILIES: dict[str, type[Family]] = {
    kind.model_fields["name"].default: kind
    for kind in (LabelToken, MathShepherd, RLHFlow, QwenPRM, Skywork, QwenRM, Classifier, Judge)
}
