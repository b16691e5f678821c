"""A mechanism by its name, with parameters as `NAME=VALUE`; faults say what there is to choose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tricell.markets.mechanism import Mechanism
from tricell.markets.mechanism_registry import known_mechanisms
from tricell.markets.orders import PRICE_LIMIT_EUR_PER_KWH
from tricell.scenarios.faults import Fault, ScenarioFaultsError, did_you_mean
from tricell.scenarios.field_guide import FieldGuide
from tricell.scenarios.schema_faults import in_plain_words

COMMAND = "the command"
NUMBERS = {"integer", "number"}


def chosen_mechanism(name: str, assignments: Sequence[str] = ()) -> Mechanism:
    """Return the mechanism of a name that clears a market for a slot.

    Parameters
    ----------
    name : its name, as `tricell list mechanisms` shows it.
    assignments : parameters that differ from their defaults, such as ``k=0.5``.

    Raises
    ------
    ScenarioFaultsError
        If there is no such mechanism, if it is a library function only, or if a parameter is wrong.
    MarketError
        If a third party's mechanism cannot be loaded.
    """
    parameters = _parameters_class(name)
    guide = FieldGuide(parameters.model_json_schema())
    names = [each for each in guide.field_names((), {}) if each != "kind"]
    values, faults = _values(assignments, guide, names)
    if faults:
        raise ScenarioFaultsError(COMMAND, faults)
    try:
        return parameters.model_validate(values)
    except ValidationError as error:
        written = {text.partition("=")[0].strip(): text for text in assignments}
        details = error.errors(include_url=False)
        faults = [_fault(dict(detail), written, guide, names) for detail in details]
        raise ScenarioFaultsError(COMMAND, faults) from error


def refuse_outside_prices(retail: float, feed_in: float) -> None:
    """Raise an error if the retailer's prices cannot be those of a market.

    Raises
    ------
    ScenarioFaultsError
        If one is no price, or if the retailer pays more than it takes.
    """
    limit = PRICE_LIMIT_EUR_PER_KWH
    faults = [
        Fault(f"--{name} {price:g}", None, name, f"{price:g}", "this is no price", allowed=allowed)
        for name, price in (("retail", retail), ("feed-in", feed_in))
        if not abs(price) <= limit
        for allowed in [f"a number within +-{limit:g} EUR/kWh"]
    ]
    if not faults and feed_in > retail:
        message = f"the retailer pays more than it takes, {retail:g} EUR/kWh"
        allowed = f"at most the retail price, {retail:g}"
        option = f"--feed-in {feed_in:g}"
        faults = [Fault(option, None, "feed-in", f"{feed_in:g}", message, allowed=allowed)]
    if faults:
        raise ScenarioFaultsError(COMMAND, faults)


def parameter_lines(parameters: type[Mechanism]) -> list[tuple[str, str, str]]:
    """Return name, what is allowed (with the default) and meaning of each parameter."""
    guide = FieldGuide(parameters.model_json_schema())
    names = [each for each in guide.field_names((), {}) if each != "kind"]
    return [(n, guide.allowed((n,), {}), guide.meaning((n,), {})) for n in names]


def _parameters_class(name: str) -> type[Mechanism]:
    known = known_mechanisms()
    usable = [each for each, mechanism in known.items() if mechanism.parameters is not None]
    found = known.get(name)
    if found is not None and found.parameters is not None:
        return found.parameters
    if found is None:
        message = f"there is no mechanism `{name}`"
        likely = did_you_mean(name, usable) or did_you_mean(name, known)
        hint = f"{likely} `tricell list mechanisms` shows all".strip()
    else:
        message = f"`{name}` is a library function: {found.about.line}"
        hint = f"call `tricell.markets.mechanisms.{name}` from Python"
        if found.origin != "tricell":
            hint = f"call it from Python, it comes with the package {found.origin}"
    allowed = "a mechanism that clears a market for a slot"
    fault = Fault(
        f"--mechanism {name}", None, "mechanism", name, message, allowed=allowed, suggestion=hint
    )
    raise ScenarioFaultsError(COMMAND, [fault])


def _values(
    assignments: Sequence[str], guide: FieldGuide, names: list[str]
) -> tuple[dict[str, Any], list[Fault]]:
    values: dict[str, Any] = {}
    faults = []
    for text in assignments:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            message, allowed = "this is no parameter", "a name, `=` and a value: --param k=0.5"
            faults.append(_option_fault(text, name, message, allowed))
        elif name not in names:
            faults.append(
                _option_fault(
                    text,
                    name,
                    f"there is no parameter `{name}`",
                    _all_allowed(guide, names),
                    did_you_mean(name, names),
                )
            )
        elif name in values:
            faults.append(_option_fault(text, name, f"`{name}` is given twice", "one value"))
        else:
            values[name] = _value(value, guide.types((name,), {}))
    return values, faults


def _value(text: str, types: set[str]) -> Any:
    """Read a number, truth, list or section as JSON; where a text is due it stays one."""
    if "string" in types and not types & NUMBERS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _fault(
    detail: dict[str, Any], written: dict[str, str], guide: FieldGuide, names: list[str]
) -> Fault:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    message = in_plain_words(detail["msg"].removeprefix("Value error, "))
    allowed = guide.allowed((name,), {}) if name in names else _all_allowed(guide, names)
    if name in names and detail["type"] != "value_error":
        message = f"`{name}` {message}"
    return _option_fault(written.get(name, ""), name, message, allowed)


def _option_fault(
    text: str, name: str, message: str, allowed: str = "", suggestion: str = ""
) -> Fault:
    option = f"--param {text}".rstrip()
    return Fault(option, None, name, text, message, allowed=allowed, suggestion=suggestion)


def _all_allowed(guide: FieldGuide, names: list[str]) -> str:
    if not names:
        return "this mechanism has no parameters"
    return "; ".join(f"`{name}`, {guide.allowed((name,), {})}" for name in names)
