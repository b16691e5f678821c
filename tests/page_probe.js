/* What the tests of pages ask a page: loaded by tests/browser.py as `window.probe`. */
window.probe = (() => {
  "use strict";
  const CONTROLS = "a[href], button, select, input, summary, [tabindex='0']";

  const isShown = element => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && element.checkVisibility({
      checkOpacity: true, checkVisibilityCSS: true });
  };

  const name = element => {
    const text = (element.getAttribute("aria-label") || element.textContent || "").trim();
    const id = element.id ? `#${element.id}` : "";
    return `${element.tagName.toLowerCase()}${id} "${text.replace(/\s+/g, " ").slice(0, 40)}"`;
  };

  function rgba(text) {
    const numbers = (text.match(/[\d.]+/g) || []).map(Number);
    if (!text.startsWith("rgb")) return [0, 0, 0, 0];
    return [numbers[0], numbers[1], numbers[2], numbers.length > 3 ? numbers[3] : 1];
  }

  const over = (upper, lower) => [0, 1, 2].map(
    part => upper[part] * upper[3] + lower[part] * (1 - upper[3]));

  const hex = colour => "#" + colour.slice(0, 3).map(
    part => Math.round(part).toString(16).padStart(2, "0")).join("");

  function paint(element) {
    const style = getComputedStyle(element);
    const isShape = element instanceof SVGGeometryElement;
    if (element instanceof SVGElement && !isShape) return [0, 0, 0, 0];
    const colour = rgba(isShape ? style.fill : style.backgroundColor);
    let opacity = isShape ? Number(style.fillOpacity) : 1;
    for (let each = element; each instanceof Element; each = each.parentElement)
      opacity *= Number(getComputedStyle(each).opacity);
    return [...colour.slice(0, 3), colour[3] * opacity];
  }

  /* Colours of a text and of what lies beneath it; null where that is a picture. */
  function colours(element, box) {
    const isDrawn = element instanceof SVGElement;
    const style = getComputedStyle(element);
    const beneath = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const first = beneath.indexOf(element);
    const layers = first < 0 ? [] : beneath.slice(first);
    if (layers.some(each => each.tagName === "image" || each.tagName === "CANVAS")) return null;
    const painted = layers.map(paint);
    let ground = [255, 255, 255];
    for (const layer of painted.reverse()) ground = over(layer, ground);
    const ink = rgba(isDrawn ? style.fill : style.color);
    if (isDrawn) ink[3] *= Number(style.fillOpacity);
    return { ink: hex(over(ink, ground)), ground: hex(ground) };
  }

  /* All texts that are shown, with their size as it is seen and their colours. */
  function texts() {
    const found = [];
    const everywhere = document.createElement("style");
    everywhere.textContent = "* { pointer-events: all !important; transition: none !important; }";
    document.head.append(everywhere);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, element = node.parentElement;
      if (!node.textContent.trim() || !element || !isShown(element)) continue;
      if (element.closest("script, style, .hidden-text, .skip:not(:focus), select")) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const style = getComputedStyle(element);
      if (Number(style.opacity) === 0) continue;
      const matrix = element instanceof SVGGraphicsElement ? element.getScreenCTM() : null;
      const scale = matrix ? Math.hypot(matrix.a, matrix.b) : 1;
      element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
      const box = range.getClientRects()[0];
      if (!box || box.width < 2) continue;
      found.push({
        text: node.textContent.trim().replace(/\s+/g, " ").slice(0, 60),
        part: (element.closest("[data-part]") || { dataset: {} }).dataset.part || "",
        size: parseFloat(style.fontSize) * scale, ...(colours(element, box) || {}) });
    }
    everywhere.remove();
    return found;
  }

  const place = element => [...document.querySelectorAll("*")].indexOf(element);

  const controls = () => [...document.querySelectorAll(CONTROLS)].filter(
    each => isShown(each) && !each.disabled && each.tabIndex >= 0);

  /* Controls that something else lies upon, or whose own text does not fit. */
  function covered() {
    const faults = [];
    for (const each of controls()) {
      if (each.matches(".skip")) continue;
      each.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
      const box = each.getBoundingClientRect();
      if (box.left < -0.5 || box.right > innerWidth + 0.5 && !each.matches(".scroll"))
        faults.push(`${name(each)} leaves the screen`);
      const x = Math.min(Math.max(box.x + box.width / 2, 1), innerWidth - 1);
      const y = Math.min(Math.max(box.y + box.height / 2, 1), innerHeight - 1);
      const top = document.elementFromPoint(x, y);
      const isFree = top && (each.contains(top) || top.contains(each) ||
        top.closest("label") && top.closest("label").control === each);
      if (!isFree) faults.push(`${name(each)} lies under ${top ? name(top) : "nothing"}`);
      if (each.matches("button, summary") && each.scrollWidth > each.clientWidth + 1)
        faults.push(`${name(each)} is cut off`);
    }
    return faults;
  }

  /* Controls that lie upon each other. */
  function overlaps() {
    const boxes = controls().filter(each => !each.closest(".bar") && !each.matches(".scroll, .skip"))
      .map(each => [each, each.getBoundingClientRect()]);
    const faults = [];
    boxes.forEach(([one, a], number) => {
      for (const [other, b] of boxes.slice(number + 1)) {
        if (one.contains(other) || other.contains(one)) continue;
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 1) faults.push(`${name(one)} and ${name(other)}`);
      }
    });
    return faults;
  }

  /* What is drawn in each plot: marks of a kind that has a size and a colour. */
  function marks() {
    const shapes = ".trace path, .trace image, .trace rect, .points path, .point path, .hm image, " +
      ".slice path, .sankey-link, .sankey-node rect, .js-line, .bars path, .heatmaplayer image";
    return [...document.querySelectorAll("[data-part]")].map(plot => {
      const seen = new Set([...plot.querySelectorAll(shapes)].filter(each => {
        const box = each.getBoundingClientRect(), style = getComputedStyle(each);
        const hasInk = each.tagName === "image" || rgba(style.fill)[3] * style.fillOpacity > 0 ||
          rgba(style.stroke)[3] * style.strokeOpacity > 0;
        return hasInk && Math.max(box.width, box.height) > 1;
      }));
      const canvases = [...plot.querySelectorAll("canvas")].filter(each => each.width > 1);
      return { part: plot.dataset.part, drawn: plot.dataset.drawn, marks: seen.size,
        canvases: canvases.length };
    });
  }

  /* What has the keyboard, and whether one sees it. */
  function focused() {
    const element = document.activeElement;
    if (!element || element === document.body) return null;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    return { name: name(element), place: place(element),
      outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
      isInView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth };
  }

  /* Scalar colours of traces with what else tells them apart, and all colour scales. */
  function palette() {
    const scales = [], lines = [];
    for (const plot of document.querySelectorAll("[data-part]")) {
      const part = plot.dataset.part;
      for (const trace of plot._fullData || []) {
        const marker = trace.marker || {}, line = trace.line || {};
        for (const scale of [trace.colorscale, marker.colorscale, line.colorscale])
          if (scale) scales.push({ part, scale: scale.map(stop => stop[1]) });
        const hasLine = trace.mode ? trace.mode.includes("lines") : false;
        const colour = hasLine ? line.color : marker.color;
        if (typeof colour === "string" && trace.visible === true && trace.name)
          lines.push({ part, name: trace.name, colour,
            other: [trace.type, trace.mode, line.dash, line.width, marker.symbol,
              marker.pattern && marker.pattern.shape].join() });
      }
      const layout = plot._fullLayout || {};
      for (const key of Object.keys(layout).filter(each => each.startsWith("coloraxis")))
        if (layout[key].colorscale)
          scales.push({ part, scale: layout[key].colorscale.map(stop => stop[1]) });
    }
    return { scales, lines };
  }

  return { texts, controls: () => controls().map(each => [place(each), name(each)]), covered, overlaps, marks, focused, palette };
})();
