"""The key figures of a run: name, formula, unit, scopes, where undefined, source.

The only place that says which figures there are. `tricell.results.key_figures` computes them, the
page of key figures in the documentation is made from this list, and tests hold both together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tricell.results import layout
from tricell.results.figure_scopes import AGENT, AREA, CLASS, LEVEL

RUN = layout.RUN_SCOPE
EVERYWHERE = layout.SCOPE_KINDS
GROUPS = (RUN, LEVEL, AREA, CLASS)
GRIDS = (RUN, LEVEL, AREA)
MARKETS = (LEVEL, AREA)
COMMUNITIES = (RUN, AREA, CLASS)
SINGLE_COMMUNITIES = (RUN, AREA, CLASS, AGENT)
NETWORKS = (RUN, AREA)

BILL_COMPONENTS = tuple(layout.BILL_PARTS)
"""Columns of tables/bill that add up to its total."""
OVERALL = (
    "value_tapping",
    "willingness",
    "equality",
    "energy_balance",
    "flatness",
    "self_sufficiency",
)
"""Figures whose mean is the figure `overall`."""

ZHOU = "Zhou, Wu, Long 2018"
PERCENTILES = (10, 50, 90)
"""Percentiles of the participants' changes of bills."""


@dataclass(frozen=True)
class FigureDefinition:
    """One key figure.

    Attributes
    ----------
    name : in tables/kpi.
    unit : "1" for a plain number or a share from 0 to 1.
    scopes : kinds of things that it speaks about.
    meaning : what it tells.
    formula : how it follows from what is in the file; h is the length of a slot in hours.
    undefined : when it is undefined although the file has the data; empty for never.
    source : who defined it so; empty where the name says it.
    is_everywhere : whether every file has rows of it, undefined or not; if not, a file has them
        only if it has what the figure is made of.
    """

    name: str
    unit: str
    scopes: tuple[str, ...]
    meaning: str
    formula: str
    undefined: str = ""
    source: str = ""
    is_everywhere: bool = True


_ENERGY = (
    FigureDefinition(
        "load", "kWh", EVERYWHERE, "energy consumed", "sum (max(p_load, 0) + max(-p_pv, 0)) h"
    ),
    FigureDefinition(
        "generation",
        "kWh",
        EVERYWHERE,
        "energy generated and fed in",
        "sum (max(p_pv, 0) + max(-p_load, 0)) h",
    ),
    FigureDefinition(
        "import",
        "kWh",
        EVERYWHERE,
        "energy taken from outside",
        "sum max(N, 0); N = p_import h of an area, sum p_net h of a class or an agent",
    ),
    FigureDefinition("export", "kWh", EVERYWHERE, "energy given to the outside", "sum max(-N, 0)"),
    FigureDefinition(
        "unsold", "kWh", GRIDS, "energy offered and sold to nobody", "sum energy_unsold"
    ),
    FigureDefinition(
        "curtailed",
        "kWh",
        EVERYWHERE,
        "available generation that was not fed in",
        "sum curtailed of tables/bill",
    ),
    FigureDefinition(
        "energy_not_served",
        "kWh",
        EVERYWHERE,
        "demand that was not met",
        "sum unserved of tables/bill",
    ),
    FigureDefinition(
        "self_sufficiency",
        "1",
        EVERYWHERE,
        "share of the load that is not imported; below 0 where batteries import more than is used",
        "1 - import / load",
        "no load",
        ZHOU,
    ),
    FigureDefinition(
        "self_consumption",
        "1",
        EVERYWHERE,
        "share of the generation that is not exported",
        "1 - export / generation",
        "no generation",
        ZHOU,
    ),
    FigureDefinition(
        "share_ratio",
        "1",
        GROUPS,
        "energy that members can share over their load",
        "sum_t min(sum_n max(n, 0), sum_n max(-n, 0)) / load; n = p_net h",
        "no load",
    ),
    FigureDefinition(
        "energy_balance",
        "1",
        GROUPS,
        "balance inside the community",
        "1 - sum_t abs(sum_n n) / sum_t sum_n abs(n); n = p_net h",
        "nobody takes or gives",
        ZHOU,
    ),
)
_PEAKS = (
    FigureDefinition(
        "peak_import",
        "kW",
        EVERYWHERE,
        "highest import; of a level the sum of its areas' peaks",
        "max_t max(N, 0) / h",
    ),
    FigureDefinition("peak_export", "kW", EVERYWHERE, "highest export", "max_t max(-N, 0) / h"),
    FigureDefinition(
        "peak_import_no_trading",
        "kW",
        GRIDS,
        "highest import of the same participants without trading",
        "max_t max(load - generation - unsold, 0) / h",
        "anybody has a battery or another device that shifts energy: the file does not tell how it "
        "would run without trading",
    ),
    FigureDefinition(
        "peak_import_reduction",
        "1",
        GRIDS,
        "reduction of the highest import against no trading",
        "1 - peak_import / peak_import_no_trading",
        "peak_import_no_trading is undefined or 0",
    ),
    FigureDefinition(
        "peak_to_average_ratio",
        "1",
        SINGLE_COMMUNITIES,
        "peak over mean of the net demand",
        "max N / mean N",
        "the mean is no import",
    ),
    FigureDefinition(
        "flatness",
        "1",
        COMMUNITIES,
        "flatness of the exchange with the outside",
        "mean abs(N) / max abs(N)",
        "nothing is exchanged",
        ZHOU,
    ),
    FigureDefinition(
        "rebound_peak",
        "kW",
        NETWORKS,
        "highest import in the first slot of low retail prices; 0 if nothing is imported then",
        "max of p_import over t with c_t <= c_low < c_t-1; c = retail_price, "
        "c_low = min c + (max c - min c) / 4",
        "the retail price never falls to its low level",
        "Steen, Tuan, Carlson 2016",
    ),
)
_GRID = (
    FigureDefinition("loss", "kWh", GRIDS, "losses of the networks", "sum loss h"),
    FigureDefinition(
        "loss_ratio",
        "1",
        GRIDS,
        "losses over what enters the network",
        "loss / (import + generation)",
        "nothing enters",
    ),
    FigureDefinition(
        "voltage_violation_rate",
        "1",
        GRIDS,
        "share of the bus-slots whose voltage is outside its limits",
        "bus-slots with vm < vm_min or vm > vm_max / all that have limits and a voltage",
        "no bus with limits",
    ),
    FigureDefinition(
        "voltage_violation_depth",
        "1",
        GRIDS,
        "largest distance of a voltage to its limits, per unit; of a level of all its areas",
        "max (vm_min - vm, vm - vm_max, 0)",
        "no bus with limits",
    ),
    FigureDefinition(
        "voltage_hours",
        "h",
        GRIDS,
        "bus hours outside the voltage limits",
        "bus-slots outside, times h",
        "no bus with limits",
    ),
    FigureDefinition(
        "line_overload_hours",
        "h",
        GRIDS,
        "hours that lines are above their loading limit, summed over the lines",
        "line-slots with loading > loading_max, times h",
        "no line",
    ),
    FigureDefinition(
        "line_loading_max", "percent", GRIDS, "highest loading of a line", "max loading", "no line"
    ),
    FigureDefinition(
        "trafo_overload_hours",
        "h",
        GRIDS,
        "the same of the transformers that feed an area",
        "transformer-slots with loading > loading_max, times h",
        "no transformer",
    ),
    FigureDefinition(
        "trafo_loading_max",
        "percent",
        GRIDS,
        "highest loading of a transformer",
        "max loading",
        "no transformer",
    ),
    FigureDefinition(
        "tap_steps",
        "1",
        GRIDS,
        "steps that tap changers made",
        "sum_t abs(tap_t - tap_t-1)",
        "no transformer",
    ),
    FigureDefinition(
        "limits_met_share",
        "1",
        (RUN,),
        "time in which the AC power flow keeps all limits, within the scenario's tolerances",
        "share of slots with the verdict limits_met or limits_met_by_reclearing",
    ),
    FigureDefinition(
        "breach_energy",
        "kWh",
        (RUN,),
        "breaches of power limits that the market had to accept",
        "sum breach_kw h",
    ),
    FigureDefinition(
        "breach_cost", "EUR", (RUN,), "those breaches at their prices", "sum breach_cost"
    ),
)
_MARKETS = (
    FigureDefinition(
        "energy_traded",
        "kWh",
        GRIDS,
        "traded in the area's own market; of the run in all markets",
        "sum energy_traded",
    ),
    FigureDefinition(
        "energy_residual",
        "kWh",
        MARKETS,
        "left after the area's own market, handed to the level above",
        "sum energy_residual",
    ),
    FigureDefinition(
        "liquidity",
        "1",
        MARKETS,
        "traded over offered energy in the area's own market",
        "traded / (traded + (residual + unsold + unserved) / 2)",
        "nothing is offered",
    ),
    FigureDefinition(
        "price_mean", "EUR/kWh", (AREA,), "mean price of energy at the area", "mean price"
    ),
    FigureDefinition(
        "price_band",
        "EUR/kWh",
        (AREA,),
        "strength of the price signal at the area",
        "max price - min price",
        source="CEER 2020",
    ),
    FigureDefinition(
        "retail_price_band",
        "EUR/kWh",
        (RUN,),
        "strength of the price signal of the retail tariff",
        "max retail_price - min retail_price",
        source="CEER 2020",
    ),
    FigureDefinition(
        "price_traded",
        "EUR/kWh",
        GRIDS,
        "mean price at which the area's own market trades; of the run all markets",
        "sum energy_traded price / sum energy_traded",
        "nothing is traded",
    ),
    FigureDefinition(
        "network_charge_on_trades",
        "EUR",
        GRIDS,
        "network charges on trades in the area's own market; of the run in all markets",
        "sum network_charge of the area",
    ),
    FigureDefinition(
        "welfare",
        "EUR",
        (RUN,),
        "value of the cleared orders to buyers less their cost to sellers",
        "sum welfare",
    ),
    FigureDefinition(
        "gain",
        "EUR",
        (RUN,),
        "cost of supply that trade saves",
        "sum gain",
        "all clear jointly: there is no market beside the optimum",
    ),
    FigureDefinition(
        "optimal_gain",
        "EUR",
        (RUN,),
        "the same in the joint optimum of the same orders",
        "sum optimal_gain",
        "all clear jointly",
    ),
    FigureDefinition(
        "welfare_share",
        "1",
        (RUN,),
        "gain as a share of the optimal one; 1 where all clear jointly",
        "gain / optimal_gain",
        "there was nothing to gain",
    ),
    FigureDefinition(
        "value_tapping",
        "1",
        (RUN,),
        "share of the possible saving that was made, in cost of supply; 1 where all clear jointly",
        "(C_A1 - C) / (C_A1 - C_opt) = gain / optimal_gain",
        "there was nothing to gain",
        ZHOU,
    ),
    FigureDefinition(
        "redispatch_moved",
        "kWh",
        (RUN,),
        "change from what was traded to what flows",
        "sum redispatch_moved",
    ),
    FigureDefinition(
        "redispatch_cost",
        "EUR",
        (RUN,),
        "what that costs the network operator",
        "sum redispatch_cost",
    ),
    FigureDefinition(
        "reclearings", "1", (RUN,), "how often a market was cleared again", "sum reclearings"
    ),
    FigureDefinition(
        "market_iterations",
        "1",
        (RUN,),
        "rounds of iterative mechanisms",
        "sum market_iterations",
    ),
    FigureDefinition(
        "unfinished_markets",
        "1",
        (RUN,),
        "markets that did not converge",
        "sum unfinished_markets",
    ),
    FigureDefinition(
        "lp_cold_starts",
        "1",
        (RUN,),
        "linear programs solved without a warm start",
        "sum lp_cold_starts",
    ),
    FigureDefinition(
        "power_flow_fall_backs",
        "1",
        (RUN,),
        "AC power flows that the fast iteration did not solve",
        "slots with another power_flow_method than fixed_point",
    ),
)
_BILLS = (
    FigureDefinition("bill", "EUR", GROUPS, "what participants pay in all", "sum total"),
    FigureDefinition(
        "bill_no_trading",
        "EUR",
        GROUPS,
        "what they would pay without trading",
        "sum no_trading_total",
    ),
    FigureDefinition("saving", "EUR", EVERYWHERE, "bill without trading less bill", "sum saving"),
    FigureDefinition(
        "saving_per_agent",
        "EUR/a",
        GROUPS,
        "what a participant saves on average, scaled to a year",
        "mean saving 8760 / (hours of the run)",
        "nobody is there",
        "Fina, Auer 2020",
    ),
    FigureDefinition(
        "relative_bill_change",
        "1",
        GROUPS,
        "change of the bills in all against no trading; negative where trading pays",
        "sum total / sum no_trading_total - 1",
        "bills without trading are no cost in all",
        "Simshauser 2016",
    ),
    *(
        FigureDefinition(
            f"bill_change_p{percent}",
            "EUR",
            GROUPS,
            f"change of bills against no trading that {percent} % of the participants do not "
            f"exceed",
            f"percentile {percent} of total - no_trading_total",
            "nobody is there",
            "Simshauser 2016",
        )
        for percent in PERCENTILES
    ),
    *(
        FigureDefinition(
            f"relative_bill_change_p{percent}",
            "1",
            GROUPS,
            f"the same in relation to the bill without trading, {percent} %",
            f"percentile {percent} of total / no_trading_total - 1, of who has a bill above 0 "
            f"without trading",
            "nobody has a bill above 0 without trading",
            "Simshauser 2016",
        )
        for percent in PERCENTILES
    ),
    *(
        FigureDefinition(
            f"bill_share_{name}",
            "1",
            GROUPS,
            f"share of `{name}` in the bills",
            f"sum {name} / sum total",
            "the bills are no cost in all",
            "CEER 2020",
            is_everywhere=name not in layout.OPTIONAL_BILL_PARTS,
        )
        for name in BILL_COMPONENTS
    ),
    FigureDefinition(
        "effective_price",
        "EUR/kWh",
        EVERYWHERE,
        "what a bought kWh costs all in, network charges and levies included",
        "sum of what is paid in tables/receipt but for sales of energy / sum of energy bought",
        "nothing is bought",
    ),
    FigureDefinition(
        "low_consumers_relative_price",
        "1",
        GROUPS,
        "effective price of the fifth of the buyers who buy least, over that of all",
        "effective_price of the ceil(n / 5) smallest / effective_price",
        "nobody buys",
        "Azarova et al. 2018",
    ),
    FigureDefinition(
        "network_charge_revenue",
        "EUR",
        GROUPS,
        "network charges that participants pay, those of the period too",
        "sum network",
    ),
    FigureDefinition(
        "charge_recovery",
        "1",
        (RUN,),
        "network charges over the cost to recover",
        "network_charge_revenue / allowed cost",
        "always: a run knows no allowed cost; a study does",
    ),
)
_FAIRNESS = (
    FigureDefinition(
        "willingness",
        "1",
        GROUPS,
        "share of the participants with a saving above 0",
        "count(saving > 1e-9 EUR) / n",
        "nobody is there",
        ZHOU,
    ),
    FigureDefinition(
        "share_clearly_worse",
        "1",
        GROUPS,
        "share of the participants who pay over 10 % and over 100 EUR a year more than without "
        "trading",
        "count(-saving > 0.1 no_trading_total and -saving 8760 / hours > 100 EUR) / n",
        "nobody is there",
        "CEER 2020",
    ),
    FigureDefinition(
        "jain_saving",
        "1",
        GROUPS,
        "Jain's index of the savings, 1 is equal",
        "(sum x)^2 / (n sum x^2); 1 if all are 0",
        "nobody is there",
        "Jain, Chiu, Hawe 1984",
    ),
    FigureDefinition(
        "gini_saving",
        "1",
        GROUPS,
        "Gini coefficient of the savings, 0 is equal",
        "sum_ij abs(x_i - x_j) / (2 n^2 mean x)",
        "anybody loses, or nobody gains",
        "Gini 1912",
    ),
    FigureDefinition(
        "equality",
        "1",
        GROUPS,
        "equality of the savings",
        "1 - gini_saving",
        "gini_saving is undefined",
        ZHOU,
    ),
    FigureDefinition(
        "jain_price",
        "1",
        GROUPS,
        "Jain's index of the effective prices of those who buy",
        "as jain_saving",
        "nobody buys",
        "Jain, Chiu, Hawe 1984",
    ),
    FigureDefinition(
        "gini_price",
        "1",
        GROUPS,
        "Gini coefficient of the effective prices of those who buy",
        "as gini_saving",
        "nobody buys, or a price is negative",
        "Gini 1912",
    ),
    FigureDefinition(
        "qoe",
        "1",
        GROUPS,
        "fairness of the effective prices",
        "1 - 2 sigma / (H - L); sigma of the population, L = lowest feed-in or effective price of "
        "the run, H = highest retail or effective price",
        "nobody buys, or H <= L",
        "Hossfeld et al. 2017",
    ),
    FigureDefinition(
        "mim",
        "1",
        GROUPS,
        "smallest over largest effective price",
        "min x / max x",
        "nobody buys, or no price is above 0",
        "Moret, Pinson 2019",
    ),
    FigureDefinition(
        "overall",
        "1",
        (RUN,),
        f"mean of {', '.join(OVERALL[:-1])} and {OVERALL[-1]}",
        "sum / 6",
        "one of them is undefined",
        ZHOU,
    ),
)
_ACCOUNTS = (
    FigureDefinition(
        "agents_pay",
        "EUR",
        (RUN,),
        "what participants pay less what they receive",
        "sum amount as payer - sum amount as payee",
    ),
    FigureDefinition(
        "retailer_receives",
        "EUR",
        (RUN,),
        "what the retailer receives less what he pays, without the wholesale market",
        "sum amount as payee - sum amount as payer",
    ),
    FigureDefinition(
        "network_operator_receives",
        "EUR",
        (RUN,),
        "the same of the network operator",
        "sum amount as payee - sum amount as payer",
    ),
    FigureDefinition(
        "market_operators_receive",
        "EUR",
        (RUN,),
        "the same of the operators of the local markets",
        "sum amount as payee - sum amount as payer",
    ),
    FigureDefinition(
        "retailer_pays_wholesale",
        "EUR",
        (RUN,),
        "what the retailer pays to the wholesale market less what it pays him",
        "sum amount to wholesale - sum amount from it",
    ),
    FigureDefinition(
        "network_operator_pays_wholesale",
        "EUR",
        (RUN,),
        "the same of the network operator",
        "sum amount to wholesale - sum amount from it",
    ),
    FigureDefinition(
        "transmission_operator_pays",
        "EUR",
        (RUN,),
        "what the transmission system operator pays less what he receives",
        "sum amount as payer - sum amount as payee",
        is_everywhere=False,
    ),
)
_FLEXIBILITY = tuple(
    replace(figure, is_everywhere=False)
    for figure in (
        FigureDefinition(
            "vehicle_energy",
            "kWh",
            GROUPS,
            "energy that vehicles were charged with, less what they gave back",
            "sum energy of tables/device over vehicles",
            "nobody has a vehicle",
        ),
        FigureDefinition(
            "vehicle_energy_missed",
            "kWh",
            GROUPS,
            "energy that vehicles lacked when they left",
            "sum unmet over vehicles",
            "nobody has a vehicle",
        ),
        FigureDefinition(
            "short_departure_share",
            "1",
            GROUPS,
            "share of the departures with less energy than needed",
            "sum short_departures / sum departures",
            "no vehicle leaves",
        ),
        FigureDefinition(
            "heat_pump_energy",
            "kWh",
            GROUPS,
            "electricity that heat pumps consumed",
            "sum energy over houses and heat stores",
            "nobody has a heat pump",
        ),
        FigureDefinition(
            "heat_discomfort",
            "K h",
            GROUPS,
            "time outside the comfort band times how far outside",
            "sum discomfort over houses and heat stores",
            "nobody has a heat pump",
        ),
        FigureDefinition(
            "heat_unmet",
            "kWh",
            GROUPS,
            "heat demand that was not served",
            "sum unmet over houses and heat stores",
            "nobody has a heat pump",
        ),
        FigureDefinition(
            "appliance_energy",
            "kWh",
            GROUPS,
            "energy that shiftable appliances consumed",
            "sum energy over appliances",
            "nobody has an appliance",
        ),
        FigureDefinition(
            "appliance_energy_missed",
            "kWh",
            GROUPS,
            "energy of jobs that were missed",
            "sum unmet over appliances",
            "nobody has an appliance",
        ),
        FigureDefinition(
            "shared_battery_cycles",
            "1",
            GROUPS,
            "equivalent full cycles of shared batteries",
            "sum abs(p) h / (2 sum capacity_kwh)",
            "no shared battery",
        ),
        FigureDefinition(
            "shared_battery_losses",
            "kWh",
            GROUPS,
            "losses of shared batteries, without the last slot: series hold what is in store at "
            "the start of a slot",
            "sum_t<T p h - (stored_T - stored_1)",
            "no shared battery, or a single slot",
        ),
        FigureDefinition(
            "imbalance_energy",
            "kWh",
            EVERYWHERE,
            "energy that differs from what was contracted and what services moved, after "
            "deviations of members cancel; of a level the sum of its areas",
            "sum_t abs(sum_n (p_net - p_contracted - p_service)) h",
        ),
        FigureDefinition(
            "imbalance_cost",
            "EUR",
            EVERYWHERE,
            "what participants pay for it",
            "sum imbalance of tables/bill",
        ),
        FigureDefinition(
            "forecast_mae",
            "kWh",
            NETWORKS,
            "mean absolute error of the forecast of net energy; of the run that of its top area",
            "mae of tables/forecast: mean_t abs(forecast - metered)",
            "the run has several top areas",
        ),
        FigureDefinition(
            "forecast_wape",
            "1",
            NETWORKS,
            "those errors over what is consumed or given",
            "wape: sum_t abs(forecast - metered) / sum_t abs(metered)",
            "nothing is consumed or given, or the run has several top areas",
        ),
        FigureDefinition(
            "member_forecast_mae",
            "kWh",
            NETWORKS,
            "mean absolute error of the forecasts of single participants",
            "member_mae of tables/forecast",
            "the run has several top areas",
        ),
        FigureDefinition(
            "member_forecast_wape",
            "1",
            NETWORKS,
            "those errors over what they consume or give",
            "member_wape of tables/forecast",
            "nothing is consumed or given, or the run has several top areas",
        ),
        FigureDefinition(
            "flexibility_asked",
            "kWh",
            NETWORKS,
            "flexibility that services asked for",
            "sum need of tables/service but for set-points, which pass on what was asked for",
            "nothing was asked of the area itself",
        ),
        FigureDefinition(
            "flexibility_accepted",
            "kWh",
            NETWORKS,
            "flexibility that services bought",
            "sum accepted",
            "nothing was asked of the area itself",
        ),
        FigureDefinition(
            "flexibility_delivered",
            "kWh",
            NETWORKS,
            "flexibility delivered, measured against a baseline",
            "sum delivered",
            "nothing was asked of the area itself",
        ),
        FigureDefinition(
            "flexibility_unmet",
            "kWh",
            NETWORKS,
            "flexibility asked for and not delivered",
            "sum unmet",
            "nothing was asked of the area itself",
        ),
        FigureDefinition(
            "flexibility_delivered_share",
            "1",
            NETWORKS,
            "delivered over asked flexibility",
            "flexibility_delivered / flexibility_asked",
            "nothing was asked for",
        ),
        FigureDefinition(
            "flexibility_cost",
            "EUR",
            NETWORKS,
            "what those who asked paid for it",
            "sum cost",
            "nothing was asked of the area itself",
        ),
        FigureDefinition(
            "flexibility_income",
            "EUR",
            EVERYWHERE,
            "what participants got for flexibility sold as a service",
            "- sum flexibility of tables/bill",
        ),
    )
)
_TOLD = (
    FigureDefinition(
        "stored_energy_end",
        "kWh",
        (RUN,),
        "energy in all batteries after the last slot",
        "told by the run: series hold what is in store at the start of a slot",
    ),
    FigureDefinition(
        "stored_energy_end_no_trading",
        "kWh",
        (RUN,),
        "the same without trading",
        "told by the run: series hold what is in store at the start of a slot",
    ),
    FigureDefinition(
        "lookahead_value",
        "EUR",
        (RUN,),
        "what looking ahead saved",
        "told by the run: cost of the same run under the strategy rule less that of the run; cost "
        "is bills less the worth of what is left in stores",
        is_everywhere=False,
    ),
    FigureDefinition(
        "lookahead_regret",
        "EUR",
        (RUN,),
        "what perfect forecasts would have saved beyond that",
        "told by the run: cost of the run less that of the same run with perfect forecasts",
        is_everywhere=False,
    ),
)

FAMILIES: Mapping[str, tuple[FigureDefinition, ...]] = MappingProxyType(
    {
        "Energy": _ENERGY,
        "Peaks": _PEAKS,
        "Grid": _GRID,
        "Markets": _MARKETS,
        "Bills": _BILLS,
        "Fairness": _FAIRNESS,
        "Accounts": _ACCOUNTS,
        "Flexibility": _FLEXIBILITY,
        "Told by the run": _TOLD,
    }
)
"""All key figures of a run, in the order of tables/kpi."""
FIGURES: Mapping[str, FigureDefinition] = MappingProxyType(
    {figure.name: figure for figures in FAMILIES.values() for figure in figures}
)
"""The same by name."""
NOT_RECORDED: Mapping[str, str] = MappingProxyType(
    {
        "spread, depth": "order books are not kept after clearing",
        "system strength": "short-circuit power is not computed",
        "messages, gas, latency": "communication is not simulated",
        "cross-subsidy; bill changes and peak reduction against another design; LRIC of avoided "
        "or deferred reinforcement": "they compare designs: see a study's report",
        "gap of the network operator": "a run knows no allowed cost; a study does",
        "effective price of houses of 2 500, 3 500 and 5 000 kWh a year": "these houses are no "
        "participants: a study bills them; effective_price is that of the participants",
    }
)
"""Figures that a run's file does not know, and why."""


def figures_of(kind: str) -> Iterator[FigureDefinition]:
    """List the figures that speak about a kind of thing."""
    return (each for each in FIGURES.values() if kind in each.scopes)
