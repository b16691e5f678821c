"""What every section of a scenario file has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A section of a scenario file: unknown fields are faults, nothing changes after reading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )


def broken_rule(
    message: str, *, at: tuple[str | int, ...] = (), allowed: str = "", suggestion: str = ""
) -> PydanticCustomError:
    """Return the error of a rule that several fields break together.

    Parameters
    ----------
    message
        What is wrong, as a sentence without a full stop.
    at
        Path of the field to point at, from the section that checks the rule.
    allowed, suggestion
        What would be right, and what to do.
    """
    context: dict[str, Any] = {"at": at, "allowed": allowed, "help": suggestion}
    template: Any = message
    return PydanticCustomError("scenario_rule", template, context)
