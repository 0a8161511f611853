// Elements, intervals as bars, and fronts to click through.

const SVG = "http://www.w3.org/2000/svg";

const fill = (made, attributes, inside) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
};
export const el = (tag, attributes = {}, ...inside) =>
  fill(document.createElement(tag), attributes, inside);
export const draw = (tag, attributes = {}, ...inside) =>
  fill(document.createElementNS(SVG, tag), attributes, inside);

/** Keep the focus in a list one of whose buttons removed its item: on the one now there, or else on `other`. */
export const refocus = (list, n, other) => {
  const buttons = list.querySelectorAll("button");
  (buttons[Math.min(n, buttons.length - 1)] || other).focus();
};

/** Milliseconds with about four digits, as latcast prints them. */
export const ms = (value) =>
  value === null || value === undefined ? "–"
  : value.toFixed(value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0);
export const count = (value) => {
  for (const prefix of ["", " k", " M", " G"]) {
    if (value < 999.5) return `${+value.toPrecision(3)}${prefix}`;
    value /= 1000;
  }
  return `${+value.toPrecision(3)} T`;
};

/** A row: a name, a forecast, its interval, and where the budget is. */
export const bar = (name, { lower_ms, latency_ms, upper_ms }, end, budget) => {
  const at = (value) => `${(100 * Math.min(value / end, 1)).toFixed(2)}%`;
  const text = `${ms(latency_ms)} ms (${ms(lower_ms)} – ${ms(upper_ms)})`;
  const line = (value, kind) => draw("line", { class: kind, x1: at(value), x2: at(value), y1: 0, y2: 18 });
  const picture = draw("svg", { class: "bar", "aria-hidden": "true" });
  if (lower_ms !== null) {
    picture.append(draw("rect", { x: at(lower_ms), y: 5, height: 8, rx: 4,
      width: `${(100 * Math.max(0, Math.min(upper_ms, end) - lower_ms) / end).toFixed(2)}%` }));
  }
  picture.append(line(latency_ms, "mid"));
  if (budget) picture.append(line(budget, "budget"));
  return el("div", { class: "row" },
    el("p", {}, el("b", {}, name), el("span", {}, text)), picture);
};

export const bars = (place, rows, budget) => {
  const ends = rows.map(([, row]) => row.upper_ms ?? row.latency_ms);
  const end = 1.05 * Math.max(...ends, Math.min(budget || 0, 2 * Math.max(...ends)));
  place.replaceChildren(...rows.map(([name, row]) => bar(name, row, end, budget)));
};

const ticks = (low, high) => {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((x) => x * power >= rough);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + 1e-9; x += step) found.push(+x.toPrecision(6));
  return found;
};

// Fronts are as wide as the window lets them.
const fronts = new Map();
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (width === window.innerWidth) return;
  width = window.innerWidth;
  for (const [place, again] of fronts) if (place.firstChild) again();
});

/**
 * A front: points of latency and accuracy, each chosen by a click, or by arrow keys and Enter.
 * all: {x, y, lower, upper, text, found, of}; choose(of) is called with what is chosen.
 */
export const front = (place, all, yName, choose) => {
  fronts.set(place, () => front(place, all, yName, choose));
  place.replaceChildren();
  const width = Math.max(280, Math.min(760, place.clientWidth || 600)), height = 300;
  const left = 48, right = 16, top = 12, bottom = 42;
  const xs = all.map((p) => p.x), ys = all.map((p) => p.y);
  const pad = (low, high) => [low - 0.06 * (high - low || high || 1), high + 0.06 * (high - low || high || 1)];
  const [x0, x1] = pad(Math.min(...xs), Math.max(...xs)), [y0, y1] = pad(Math.min(...ys), Math.max(...ys));
  const px = (x) => left + ((Math.min(Math.max(x, x0), x1) - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
  // Of those that would lie on each other, one: a front may have hundreds.
  const points = [];
  for (const p of [...all].sort((a, b) => a.x - b.x)) {
    const last = points[points.length - 1];
    if (!last || p.found || Math.hypot(px(p.x) - px(last.x), py(p.y) - py(last.y)) > 12) points.push(p);
  }
  const chart = draw("svg", { class: "chart", role: "group", width, height, viewBox: `0 0 ${width} ${height}`,
    "aria-label": `${yName} by latency: ${points.length} choices` });
  for (const x of ticks(x0, x1)) chart.append(
    draw("line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: height - bottom }),
    draw("text", { x: px(x), y: height - bottom + 16, "text-anchor": "middle" }, `${x}`));
  for (const y of ticks(y0, y1)) chart.append(
    draw("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
    draw("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, `${y}`));
  chart.append(draw("text", { x: width - right, y: height - 8, "text-anchor": "end" }, "latency, ms"),
    draw("text", { x: 4, y: 11 }, yName));
  chart.append(draw("polyline", { class: "front", points: points.map((p) => `${px(p.x)},${py(p.y)}`).join(" ") }));
  const dots = points.map((p, n) => draw("g", {
    class: p.found ? "dot found" : "dot", role: "button", tabindex: n ? -1 : 0, "aria-label": p.text,
    onclick: () => pick(n),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") pick(n);
      else if (step && dots[n + step]) pick(n + step);
      else return;
      event.preventDefault();
    },
  }, draw("title", {}, p.text), draw("circle", { cx: px(p.x), cy: py(p.y), r: 5 })));
  points.forEach((p) => p.lower !== null && p.lower !== undefined && chart.append(
    draw("line", { class: "span", x1: px(p.lower), x2: px(p.upper), y1: py(p.y), y2: py(p.y) })));
  const pick = (n) => {
    dots.forEach((dot, m) => {
      dot.classList.toggle("chosen", m === n);
      dot.setAttribute("tabindex", m === n ? 0 : -1);
      dot.setAttribute("aria-pressed", m === n);
    });
    dots[n].focus();
    choose(points[n].of);
  };
  chart.append(...dots);
  place.replaceChildren(chart);
};

export const facts = (pairs) =>
  el("dl", { class: "facts-of" }, ...pairs.flatMap(([word, value]) => [el("dt", {}, word), el("dd", {}, value)]));

export const download = (name, text, type) => {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};
