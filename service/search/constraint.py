"""What a candidate may be written as: a form that the policy's engine keeps it to, token by token."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.search.answer_spec import EXACT, MATH, AnswerSpec

Form = Literal["json", "json_object", "regex", "choice", "grammar"]


class Constraint(BaseModel):
    """One form for every candidate, as plain data that can be hashed.

    `text` is a JSON schema as JSON text, a regular expression or a grammar, in the engine's dialects; `choices` are the
    texts of which each candidate is one; `json_object` needs neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    form: Form
    text: str = ""
    choices: tuple[str, ...] = Field((), max_length=1000)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.form == "choice") != bool(self.choices):
            raise ValueError("`choices` belong to the form choice, which needs some")
        if (self.form in ("json", "grammar")) and not self.text.strip():
            raise ValueError(f"the form {self.form} needs a text")
        return self

    @property
    def field(self) -> str:
        """The field in which OpenAI's clients, or else vLLM's, ask for such a form."""
        return "response_format" if self.form in ("json", "json_object") else "structured_outputs"


def usual_kind(constraint: Constraint | None) -> AnswerSpec:
    """Return how answers are read where nothing is said: what is kept to a form is the answer as it stands."""
    return MATH if constraint is None else EXACT
