// Draws the figures of a page as they come into view, and ties them to one chosen area.
// All drawing is done by plotly.js; the figures stand as JSON in the page.
"use strict";
(() => {
  const NARROW = 640;
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const areas = parsed("page-areas");
  const plots = new Map(
    [...document.querySelectorAll(".plot[data-part]")].map((div) => [div.dataset.part, div])
  );
  const contents = new Map();
  const waiting = new Map();
  const state = { area: "", node: "" };

  // ---- small tools

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  const ARRAYS = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array,
    u4: Uint32Array, f4: Float32Array, f8: Float64Array,
  };
  const numbers = (encoded) => {
    if (Array.isArray(encoded)) return encoded;
    const bytes = Uint8Array.from(atob(encoded.bdata), (letter) => letter.charCodeAt(0));
    return new ARRAYS[encoded.dtype](bytes.buffer);
  };
  const written = (value, digits = 3) =>
    value === null || !Number.isFinite(value)
      ? "–"
      : value.toLocaleString("en", { maximumSignificantDigits: digits }).replace("-", "−");
  const isInside = (area) => !state.area || (areas.inside[state.area] || []).includes(area);
  const say = (text) => { document.getElementById("spoken").textContent = text; };
  const contentOf = (key) => {
    if (!contents.has(key)) contents.set(key, parsed(`${key}-figure`));
    return contents.get(key);
  };

  // ---- drawing

  const config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // nothing on the page leaves it
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };

  const DAY_MS = 86400000;

  function fitted(layout) {
    // A narrow page needs the width for the figure: smaller type, fewer ticks, none of them upright.
    if (window.innerWidth >= NARROW) return layout;
    const narrow = { ...layout, font: { ...layout.font, size: 12 } };
    for (const name of Object.keys(narrow)) {
      if (name.startsWith("xaxis")) narrow[name] = { ...narrow[name], tickangle: 0, ...(narrow[name].dtick === DAY_MS && { dtick: 2 * DAY_MS }) };
    }
    if (narrow.coloraxis) {
      narrow.coloraxis = { ...narrow.coloraxis, colorbar: { ...narrow.coloraxis.colorbar, len: 0.9, nticks: 4, tickangle: 0 } };
    }
    return narrow;
  }

  function fittedData(data) {
    // A narrow page also gives a colour bar beneath the figure the whole width, and flows short
    // names: the columns stand so near to each other that long ones would overlap.
    if (window.innerWidth >= NARROW) return data;
    for (const trace of data) {
      if (trace.node && trace.node.customdata) shortened(trace);
      for (const owner of [trace, trace.marker]) {
        const bar = owner && owner.colorbar;
        if (bar && bar.orientation === "h") Object.assign(bar, { len: bar.tickvals ? 0.7 : 0.94, x: 0.5, xanchor: "center", xpad: 0 });
      }
    }
    return data;
  }

  function shortened(trace) {
    const { node, link } = trace;
    trace.textfont = { size: 11 };
    node.pad = 18;
    [node.label, node.customdata] = [node.customdata, node.label];
    node.hovertemplate = node.hovertemplate.replace("%{label}", "%{customdata}");
    link.hovertemplate = link.hovertemplate.replaceAll(".label}", ".customdata}");
  }

  function draw(key) {
    if (waiting.has(key)) return waiting.get(key);
    const div = plots.get(key);
    const content = contentOf(key);
    const narrow = window.innerWidth < NARROW;
    const done = Plotly.newPlot(div, fittedData(content.data), fitted(content.layout), {
      ...config,
      displayModeBar: narrow ? false : "hover",
    })
      .then(() => specials[key] && specials[key](div, content))
      .then(() => showArea(key))
      .then(() => { div.dataset.drawn = "yes"; });
    waiting.set(key, done);
    return done;
  }

  async function drawAll() {
    for (const key of plots.keys()) await draw(key);
  }

  // ---- the chosen area

  function showArea(key) {
    const div = plots.get(key);
    if (key === "hierarchy" && hierarchy) return hierarchy.show();
    if (key === "grid_map" && grid) return grid.show(true);
    const about = div.data.map((trace) => trace.meta && trace.meta.area);
    const marked = about.filter((area) => area !== undefined && area !== null);
    if (!marked.length) {
      tell(key, state.area ? `All areas are shown here, not ${areas.names[state.area]} alone.` : "");
      return undefined;
    }
    const some = marked.some(isInside);
    const originals = contentOf(key).data;
    const visible = about.map((area, row) =>
      area === undefined || area === null || !some || isInside(area)
        ? originals[row].visible ?? true
        : false
    );
    tell(key, state.area && !some ? `Nothing here is about ${areas.names[state.area]} alone; all is shown.` : "");
    // Thin, pale lines of areas among others stand out once their area is chosen.
    const isChosen = (row) => state.area && some && about[row] && isInside(about[row]);
    const lines = (pick) => originals.map((trace, row) => trace.line && about[row] ? pick(trace, row) : undefined);
    return Plotly.restyle(div, {
      visible,
      opacity: lines((trace, row) => (isChosen(row) ? 1 : trace.opacity ?? 1)),
      "line.width": lines((trace, row) => Math.max(trace.line.width ?? 2, isChosen(row) ? 2 : 0)),
    });
  }

  function tell(key, text) {
    const place = document.querySelector(`[data-controls="${key}"]`);
    let note = place.parentNode.querySelector(".about-area");
    if (!note && text) {
      note = make("p", { class: "about-area" });
      place.before(note);
    }
    if (note) { note.textContent = text; note.hidden = !text; }
  }

  function filterTables() {
    for (const body of document.querySelectorAll("tbody")) {
      const rows = [...body.querySelectorAll("tr[data-area]")];
      if (!rows.length) continue;
      const some = rows.some((row) => isInside(row.dataset.area));
      for (const row of rows) row.hidden = some && !isInside(row.dataset.area);
    }
  }

  function chooseArea(area, node = area) {
    const known = Object.hasOwn(areas.inside, area) ? area : "";
    const changed = known !== state.area;
    state.area = known;
    state.node = node;
    const select = document.getElementById("area");
    if (select) select.value = known;
    if (changed) {
      writeHash();
      filterTables();
      say(known ? `Area ${areas.names[known]}` : "All areas");
    }
    for (const [key, div] of plots) {
      if (div.dataset.drawn && (changed || key === "hierarchy")) showArea(key);
    }
  }

  // ---- the address: #area=<id>&at=<section>

  function hashParts() {
    const hash = window.location.hash.slice(1);
    if (!hash.includes("=")) return { at: hash };
    return Object.fromEntries(new URLSearchParams(hash));
  }

  function writeHash(at = hashParts().at || "") {
    const parts = new URLSearchParams();
    if (state.area) parts.set("area", state.area);
    if (state.area && at) parts.set("at", at);
    const hash = state.area ? parts.toString() : at;
    const before = hashParts().area || "";
    const address = hash ? `#${hash}` : window.location.pathname + window.location.search;
    // The back button of the browser leads back to the area that was chosen before.
    if (before === state.area) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
  }

  function readHash() {
    const { area = window.location.hash ? undefined : "", at } = hashParts();
    if (area !== undefined && area !== state.area) chooseArea(area);
    if (at && area !== undefined) goTo(at);
  }

  function goTo(slug) {
    const section = document.getElementById(slug);
    if (!section) return;
    section.scrollIntoView();
    const heading = section.querySelector("h2");
    if (heading) heading.focus({ preventScroll: true });
  }

  // ---- the hierarchy: a map to click through, and the same as a list

  let hierarchy = null;

  function hierarchyOf(div, content) {
    const trace = content.data[0];
    const { kinds, measures, figures } = content.extra;
    const parents = trace.parents;
    const rowOf = new Map(trace.ids.map((id, row) => [id, row]));
    const children = new Map(trace.ids.map((id) => [id, []]));
    trace.ids.forEach((id, row) => parents[row] && children.get(parents[row]).push(row));
    const root = trace.ids[parents.indexOf("")];
    const list = make("tbody");
    const path = make("div", { class: "controls" });
    const summary = make("summary");
    const heads = ["Name", "Kind", ...measures].map((text, column) =>
      make("th", { scope: "col", class: column > 1 ? "number" : false }, text));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), list);
    const box = make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Inside the area, as a list" }, table);
    const details = make("details", { id: "hierarchy-list" }, summary, path, box);
    document.querySelector('[data-after="hierarchy"]').append(details);

    const go = (id) => chooseArea(trace.customdata[rowOf.get(id)], id);
    const buttonTo = (row) =>
      make("button", { type: "button", onclick: () => { go(trace.ids[row]); refocus(); } }, trace.labels[row]);
    const refocus = () => (path.querySelector("button:last-of-type") || summary).focus();

    function ancestors(id) {
      const found = [];
      for (let row = rowOf.get(id); row !== undefined; row = rowOf.get(parents[row])) found.unshift(row);
      return found;
    }

    function fillList(id) {
      const row = rowOf.get(id);
      summary.textContent = `The same as a list: inside ${trace.labels[row]}`;
      path.replaceChildren(...ancestors(id).map(buttonTo));
      list.replaceChildren(...children.get(id).map((child) => make(
        "tr", {},
        make("td", {}, children.get(trace.ids[child]).length ? buttonTo(child) : trace.labels[child]),
        make("td", {}, kinds[child]),
        ...figures.map((values) => make("td", { class: "number" }, written(values[child], 4))),
      )));
    }

    div.on("plotly_treemapclick", (event) => {
      const next = event.nextLevel;
      const clicked = event.points[0].id;
      go(next !== undefined && rowOf.has(next) ? next : children.get(clicked).length ? clicked : parents[rowOf.get(clicked)]);
      return false;
    });

    return {
      show() {
        const node = rowOf.has(state.node) ? state.node : rowOf.has(state.area) ? state.area : root;
        fillList(node);
        div.dataset.level = node;
        return Plotly.restyle(div, { level: node });
      },
    };
  }

  // ---- the grid: lines and buses anew for each moment

  let grid = null;

  function gridOf(div, content) {
    const extra = content.extra;
    const values = Object.fromEntries(Object.entries(extra.values).map(([name, each]) => [name, numbers(each)]));
    const ends = { line: numbers(extra.ends.line), trafo: numbers(extra.ends.trafo), joined: numbers(extra.ends.joined) };
    const groups = ["bus", "line", "trafo"];
    const rowsOf = Object.fromEntries(groups.map((name) => [name, numbers(extra[name].area)]));
    const limits = { low: numbers(extra.bus.low), high: numbers(extra.bus.high), line: numbers(extra.line.limit), trafo: numbers(extra.trafo.limit) };
    const views = extra.views.map((view) => ({ name: view.name, x: numbers(view.x), y: numbers(view.y) }));
    const classes = extra.looks.length;
    let view = views[0];
    let stop = 0;
    let [isBusy, isWanted] = [false, false];

    const value = (name, row, count) => {
      if (!values[name]) return null;
      const packed = values[name][stop * count + row];
      return packed === -32768 ? null : packed / extra.scales[name];
    };
    const isShown = (name, row) => isInside(extra[name].areas[rowsOf[name][row]]);
    const classOf = (loading, limit) => {
      if (loading === null) return 0;
      if (loading > limit + extra.tolerance.loading + 0.05) return classes - 1;
      const above = extra.steps.findIndex((step) => 100 * loading <= step * limit);
      return above < 0 ? classes - 2 : above;
    };
    const hasPlace = (row) => row >= 0 && Number.isFinite(view.x[row]) && Number.isFinite(view.y[row]);

    function lineTraces() {
      // One trace per class of loading: a path with gaps. The middle of a line carries its text.
      const count = extra.line.id.length;
      const traces = Array.from({ length: classes }, () => ({ x: [], y: [], text: [] }));
      for (let row = 0; row < count; row += 1) {
        const [from, to] = [ends.line[2 * row], ends.line[2 * row + 1]];
        if (!isShown("line", row) || !hasPlace(from) || !hasPlace(to)) continue;
        const loading = value("line", row, count);
        const trace = traces[classOf(loading, limits.line[row])];
        const text = `<b>${extra.line.id[row]}</b><br>loading ${written(loading)} %, limit ${written(limits.line[row])} %`;
        trace.x.push(view.x[from], (view.x[from] + view.x[to]) / 2, view.x[to], null);
        trace.y.push(view.y[from], (view.y[from] + view.y[to]) / 2, view.y[to], null);
        trace.text.push("", text, "", "");
      }
      return traces;
    }

    function trafoTrace(lines) {
      const count = extra.trafo.id.length;
      const trace = { x: [], y: [], text: [], color: [], upper: [] };
      for (let row = 0; row < count; row += 1) {
        const [upper, lower] = [ends.trafo[2 * row], ends.trafo[2 * row + 1]];
        if (!isShown("trafo", row) || !hasPlace(upper) || !hasPlace(lower)) continue;
        const loading = value("trafo", row, count);
        const which = classOf(loading, limits.trafo[row]);
        lines[which].x.push(view.x[upper], view.x[lower], null);
        lines[which].y.push(view.y[upper], view.y[lower], null);
        lines[which].text.push("", "", "");
        trace.x.push((view.x[upper] + view.x[lower]) / 2);
        trace.y.push((view.y[upper] + view.y[lower]) / 2);
        trace.color.push(extra.looks[which][0]);
        trace.upper.push(upper, lower);
        trace.text.push(`<b>${extra.trafo.id[row]}</b>, transformer<br>loading ${written(loading)} %, limit ${written(limits.trafo[row])} %`);
      }
      return trace;
    }

    function joinedTrace() {
      const trace = { x: [], y: [], text: [] };
      for (let row = 0; row < ends.joined.length; row += 2) {
        const [first, last] = [ends.joined[row], ends.joined[row + 1]];
        if (!isShown("bus", first) || !hasPlace(first) || !hasPlace(last)) continue;
        trace.x.push(view.x[first], view.x[last], null);
        trace.y.push(view.y[first], view.y[last], null);
      }
      return trace;
    }

    function busTrace(more) {
      const count = extra.bus.id.length;
      const room = extra.tolerance.vm + 5e-5; // half of the last digit that is kept
      const trace = { x: [], y: [], text: [], color: [], symbol: [], size: [] };
      for (let row = 0; row < count; row += 1) {
        if (!(isShown("bus", row) || more.has(row)) || !hasPlace(row)) continue;
        const vm = value("vm", row, count);
        const [low, high] = [limits.low[row], limits.high[row]];
        const isOut = vm !== null && (vm < low - room || vm > high + room);
        trace.x.push(view.x[row]);
        trace.y.push(view.y[row]);
        trace.color.push(vm === null ? null : Math.max(-1, Math.min(1, (2 * (vm - low)) / (high - low) - 1)));
        trace.symbol.push(isOut ? "diamond" : "circle");
        trace.size.push(isOut ? 13 : 0);
        trace.text.push(`<b>${extra.bus.id[row]}</b>, ${extra.bus.areas[rowsOf.bus[row]]}<br>voltage ${written(vm, 4)} pu, limits ${written(low, 4)} to ${written(high, 4)}${isOut ? "<br>outside its limits" : ""}`);
      }
      const usual = trace.x.length > 800 ? 5 : trace.x.length > 150 ? 7 : 9;
      trace.size = trace.size.map((size) => size || usual);
      return trace;
    }

    function range(places) {
      const known = places.filter(Number.isFinite);
      const [low, high] = [Math.min(...known), Math.max(...known)];
      const room = 0.04 * (high - low) || 0.5;
      return [low - room, high + room];
    }

    async function show(fit) {
      const lines = lineTraces();
      const trafos = trafoTrace(lines);
      const buses = busTrace(new Set(trafos.upper));
      const points = [...lines, joinedTrace(), buses, trafos];
      const rows = [...points.keys()];
      const keep = Array(classes + 1); // undefined leaves what a trace has
      await Plotly.update(div, {
        // A gap keeps an empty class in the legend.
        x: points.map((trace) => (trace.x.length ? trace.x : [null])),
        y: points.map((trace) => (trace.y.length ? trace.y : [null])),
        hovertext: points.map((trace) => trace.text),
        "marker.color": [...keep, buses.color, trafos.color],
        "marker.symbol": [...keep, buses.symbol, "square"],
        "marker.size": [...keep, buses.size, trafos.x.length > 60 ? 9 : 12],
      }, fit ? { "xaxis.range": range(buses.x), "yaxis.range": range(buses.y) } : {}, rows);
      div.dataset.moment = extra.moments[stop];
      div.dataset.stop = stop;
    }

    function zoom(factor) {
      const update = {};
      for (const axis of ["xaxis", "yaxis"]) {
        const [low, high] = div.layout[axis].range;
        const [middle, half] = [(low + high) / 2, ((high - low) / 2) * factor];
        update[`${axis}.range`] = [middle - half, middle + half];
      }
      return Plotly.relayout(div, update);
    }

    const output = make("output", { for: "grid-moment", id: "grid-moment-text" });
    const slider = make("input", { type: "range", id: "grid-moment", min: 0, max: extra.moments.length - 1, step: 1, value: 0 });
    const named = extra.named.map(([row, text]) =>
      make("button", { type: "button", "data-stop": row, "aria-pressed": "false", onclick: () => setStop(row) }, text));
    function setStop(row) {
      stop = row;
      slider.value = row;
      output.textContent = extra.moments[row];
      slider.setAttribute("aria-valuetext", extra.moments[row]);
      for (const each of named) each.setAttribute("aria-pressed", String(Number(each.dataset.stop) === row));
      soon();
    }
    // A large grid takes a moment to draw: while it does, only the last move of the slider counts.
    async function soon() {
      isWanted = true;
      if (isBusy) return;
      isBusy = true;
      while (isWanted) {
        isWanted = false;
        await new Promise(requestAnimationFrame);
        await show(false);
      }
      isBusy = false;
    }
    slider.addEventListener("input", () => setStop(Number(slider.value)));
    const chosen = make("select", { id: "grid-view", onchange: () => { view = views[chosen.selectedIndex]; show(true); } },
      ...views.map((each) => make("option", {}, each.name)));
    const button = (text, action) => make("button", { type: "button", onclick: action }, text);
    const controls = document.querySelector('[data-controls="grid_map"]');
    controls.append(make("span", {}, make("label", { for: "grid-view" }, "Drawn"), chosen),
      make("span", {}, button("Zoom in", () => zoom(0.6)), button("Zoom out", () => zoom(1 / 0.6)), button("Fit", () => show(true))));
    controls.after(
      make("div", { class: "slider" }, make("label", { for: "grid-moment" }, "Moment"), output, slider),
      make("div", { class: "controls", role: "group", "aria-label": "Moments worth a look" }, ...named));
    output.textContent = extra.moments[0];
    slider.setAttribute("aria-valuetext", extra.moments[0]);
    named[0].setAttribute("aria-pressed", "true");
    return { show };
  }

  const specials = {
    hierarchy: (div, content) => { hierarchy = hierarchyOf(div, content); },
    grid_map: (div, content) => { grid = gridOf(div, content); },
  };

  // ---- what a person does

  for (const select of document.querySelectorAll("select[data-choice]")) {
    const key = select.dataset.choice;
    select.addEventListener("change", async () => {
      await draw(key);
      const [data, layout, traces] = contentOf(key).updates[Number(select.value)];
      const update = structuredClone(data);
      if (update.marker) fittedData(update.marker.map((marker) => ({ marker })));
      if (update.node) fittedData(update.node.map((node, row) => ({ node, link: update.link[row] })));
      await Plotly.update(plots.get(key), update, structuredClone(layout), traces);
    });
  }
  const areaSelect = document.getElementById("area");
  if (areaSelect) areaSelect.addEventListener("change", () => chooseArea(areaSelect.value));
  for (const link of document.querySelectorAll("[data-section]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      goTo(link.dataset.section);
      writeHash(link.dataset.section);
    });
  }
  document.getElementById("draw-all").addEventListener("click", async () => {
    await drawAll();
    say("All figures are drawn.");
  });
  window.addEventListener("hashchange", readHash);
  window.addEventListener("beforeprint", drawAll);

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target.dataset.part);
      }
    }
  }, { rootMargin: "400px" });
  for (const div of plots.values()) watcher.observe(div);

  readHash();
  if (new URLSearchParams(window.location.search).has("all")) drawAll();
  window.tricellPage = { draw, drawAll, chooseArea, state };
})();
