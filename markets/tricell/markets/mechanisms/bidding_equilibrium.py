"""Players choose their bids for a call auction until none gains by changing its own (Nash).

Each player has a quantity, a side and a true price, and may bid the prices of a grid. Its payoff is
its accepted energy times the gap between the clearing price and its true price. In rounds, in the
players' sequence, each scans the grid from its lowest price and moves where that earns it more by
above 1e-9 EUR. A round in which nobody moves ends it. Fixed orders of others stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About, MarketResult, MarketTerms
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="bidding_equilibrium",
    line="players adapt their bids to a call auction until none gains by changing its own",
    source="Nash 1951, Non-cooperative games; best response on a price grid",
)

LEAST_GAIN_EUR = 1e-9
NOT_CONVERGED = "not converged"


@dataclass(frozen=True)
class BiddingOutcome:
    """Where the players end.

    Attributes
    ----------
    bid : last bid of each player, EUR/kWh.
    payoff_eur : what each earns by its true price.
    market : the auction with these bids.
    rounds : rounds in which somebody moved.
    converged : nobody gains by another bid of the grid; if not, `bid` are the last ones tried.
    """

    bid: Floats
    payoff_eur: Floats
    market: MarketResult
    rounds: int
    converged: bool

    @property
    def flags(self) -> frozenset[str]:
        """What a reader should know."""
        return self.market.flags if self.converged else self.market.flags | {NOT_CONVERGED}


@dataclass(frozen=True)
class _Game:
    """An auction in which some orders can change their price."""

    orders: Orders
    players: Indices
    true_price: Floats
    auction: UniformPrice

    def market(self, bid: Floats) -> MarketResult:
        price = self.orders.price_eur_per_kwh.copy()
        price[self.players] = bid
        return self.auction.clear(self.orders.with_price(price), MarketTerms())

    def payoffs(self, market: MarketResult) -> Floats:
        if market.buy_price is None:
            return np.zeros(len(self.players))
        side, energy = self.orders.side[self.players], market.accepted_kwh[self.players]
        return np.asarray(side * (self.true_price - market.buy_price) * energy, dtype=np.float64)

    def best_response(self, bid: Floats, player: int, grid: Floats) -> Floats:
        """Bids after a player's move; the same object if it stays."""
        best, most = bid, float(self.payoffs(self.market(bid))[player])
        for price in grid:
            tried = bid.copy()
            tried[player] = price
            payoff = float(self.payoffs(self.market(tried))[player])
            if payoff > most + LEAST_GAIN_EUR:
                best, most = tried, payoff
        return best


def bidding_equilibrium(
    orders: Orders,
    players: ArrayLike,
    true_price: ArrayLike,
    grid: ArrayLike,
    *,
    k: float = 0.0,
    max_rounds: int = 500,
) -> BiddingOutcome:
    """Let players answer each other's bids in rounds.

    Parameters
    ----------
    orders : all orders; those of the players carry their first bids.
    players : rows of the players' orders, in the sequence in which they move.
    true_price : value of a buyer, cost of a seller, EUR/kWh, one per player.
    grid : prices that a player may bid, EUR/kWh.
    k : place of the price in the interval of clearing prices.
    max_rounds : rounds after which it stops, converged or not.

    Raises
    ------
    MarketError
        If the players' columns differ in length, or a price is not a number.
    """
    rows = np.asarray(players, dtype=np.int64).reshape(-1)
    true = np.asarray(true_price, dtype=np.float64).reshape(-1)
    prices = np.unique(np.asarray(grid, dtype=np.float64))
    _check(rows, true, prices)
    game = _Game(orders, rows, true, UniformPrice(k=k))
    bid, rounds, converged = _play(game, prices, max_rounds)
    market = game.market(bid)
    return BiddingOutcome(bid, game.payoffs(market), market, rounds, converged)


def _check(rows: Indices, true_price: Floats, grid: Floats) -> None:
    if len(rows) != len(true_price):
        raise MarketError(
            f"bidding equilibrium: {len(rows)} players, but {len(true_price)} true prices; "
            "give one per player"
        )
    for name, column in (("true_price", true_price), ("grid", grid)):
        if not np.isfinite(column).all():
            raise MarketError(f"bidding equilibrium: {name} has a nan or inf; allowed are numbers")


def _play(game: _Game, grid: Floats, max_rounds: int) -> tuple[Floats, int, bool]:
    """Return bids, rounds with a move, and whether the last round had none.

    A round depends on the bids before it only, so bids that come back come back for ever, and the
    bids after the last allowed round are known without playing the rest.
    """
    bid = game.orders.price_eur_per_kwh[game.players]
    history: list[Floats] = [bid]
    seen = {bid.tobytes(): 0}
    for number in range(max_rounds):
        after = bid
        for player in range(len(game.players)):
            after = game.best_response(after, player, grid)
        if after is bid:
            return bid, number, True
        first = seen.setdefault(after.tobytes(), number + 1)
        if first <= number:
            period = number + 1 - first
            return history[first + (max_rounds - first) % period], max_rounds, False
        history.append(after)
        bid = after
    return bid, max_rounds, False
