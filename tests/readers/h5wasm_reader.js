// Prints what h5wasm reads of a results file, as JSON.
import * as h5wasm from "h5wasm/node";
import { writeSync } from "node:fs";

await h5wasm.ready;
const file = new h5wasm.File(process.argv[2], "r");
const plain = (path) => Array.from(file.get(path).value, (value) =>
  typeof value === "bigint" ? Number(value) : value);
const rows = (path) => file.get(path).to_array().map((row) => Array.from(row, Number));
const seen = {
  net: rows("timeseries/agent/p_net"),
  vm: rows("timeseries/bus/vm"),
  ids: plain("timeseries/agent/agent"),
  seconds: plain("timeseries/agent/time"),
  verdict: plain("timeseries/slot/verdict"),
  trade_energy: plain("tables/trade/energy"),
  posting_amount: plain("tables/posting/amount"),
  classes: plain("tables/agent/class"),
  unit: file.get("timeseries/agent/p_net").attrs["units"].value,
  status: file.attrs["run_status"].value,
};
writeSync(1, JSON.stringify(seen));
file.close();
