"""What all parts of the configuration have in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A model that refuses keys it does not know: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
