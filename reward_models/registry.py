"""All reward model families by name. A new one is one file and one line here."""

from reward_models.label_token import LabelToken

FAMILIES: dict[str, type[LabelToken]] = {"label_token": LabelToken}
