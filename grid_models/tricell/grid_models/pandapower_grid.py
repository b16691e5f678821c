"""Networks that come with pandapower: any function of `pandapower.networks` by its name."""

from __future__ import annotations

import difflib
import inspect
import warnings
from typing import Any, Literal

import pandapower as pp
import pandapower.networks
from pydantic import BaseModel, ConfigDict, Field

from tricell.errors import GridError
from tricell.grid_models.electrical_grid import activate_tap_changers


class PandapowerGrid(BaseModel):
    """A network function of `pandapower.networks` and its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["pandapower"]
    """Grid source: the networks that come with pandapower."""
    function: str
    """Name of the function, such as "create_cigre_network_mv"."""
    arguments: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """Its arguments by name, such as {"with_der": "pv_wind"}."""


def network_functions() -> dict[str, Any]:
    """List the functions of `pandapower.networks` that make a network, by name."""
    module = pandapower.networks
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_")
        and function.__module__.startswith(module.__name__)
        and not _required_arguments(function)
    }


def _required_arguments(function: Any) -> list[str]:
    """Name the arguments without a default; no function that makes a network has any."""
    parameters = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]


def load_pandapower_grid(source: PandapowerGrid) -> pp.pandapowerNet:
    """Call a network function of pandapower.

    Parameters
    ----------
    source : PandapowerGrid

    Returns
    -------
    pandapowerNet

    Raises
    ------
    GridError
        If there is no such function, if it does not take the arguments, or returns no network.
    """
    functions = network_functions()
    if source.function not in functions:
        close = difflib.get_close_matches(source.function, functions, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise GridError(
            f"pandapower.networks has no function '{source.function}'.{hint} "
            "'tricell list grids' shows what there is."
        )
    function = functions[source.function]
    try:
        inspect.signature(function).bind(**source.arguments)
    except TypeError as error:
        raise GridError(
            f"pandapower.networks.{source.function} cannot be called with "
            f"{source.arguments}: {error}. Its arguments: {inspect.signature(function)}."
        ) from error
    net = _called(function, source)
    if not isinstance(net, pp.pandapowerNet):
        raise GridError(
            f"pandapower.networks.{source.function} returns {type(net).__name__}, not one network. "
            "Choose a function that makes a single network."
        )
    activate_tap_changers(net)
    return net


def _called(function: Any, source: PandapowerGrid) -> Any:
    """Call the function; pandapower's remarks on the age of its own files concern nobody here."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            return function(**source.arguments)
    except (ValueError, UserWarning, KeyError, TypeError) as error:
        raise GridError(
            f"pandapower.networks.{source.function} refuses the arguments {source.arguments}: "
            f"{error}"
        ) from error
