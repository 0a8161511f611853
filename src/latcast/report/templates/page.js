//<![CDATA[
"use strict";
// Sorting, filtering, choosing and pointing; without it the page is all there.
const make = (tag, more, ...inside) => {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...inside);
  return made;
};

// A cell's number: "1.2 k", "46.7 MB", "12.3 – 15.4", "1,234"; text sorts as text.
const POWERS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
const valueOf = (cell) => {
  const text = cell.textContent.trim();
  const found = text.match(/^[-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?/);
  if (!found) return text === "–" ? -Infinity : text.toLowerCase();
  const prefix = text.slice(found[0].length).match(/^ ([kMGT])(?:B|FLOP\/s|$| )/);
  return parseFloat(found[0].replace(/,/g, "").replace("−", "-")) * (prefix ? POWERS[prefix[1]] : 1);
};
const compare = (a, b) =>
  typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;

const sortBy = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => compare(a, b) * (down ? -1 : 1));
  table.tBodies[0].append(...rows.map(([, row]) => row));
};

for (const [number, table] of document.querySelectorAll("main table").entries()) {
  if (!table.tHead || table.tBodies[0].rows.length < 3) continue;
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    if (!head.textContent.trim()) continue;
    const button = make("button", { type: "button", onclick: () => sortBy(table, column) });
    button.append(...head.childNodes);
    head.append(button);
  }
  if (table.tBodies[0].rows.length < 8) continue;
  const told = make("output", { id: `rows${number}` });
  const box = make("input", { type: "search", oninput: () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    told.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
  } });
  const wide = table.closest(".wide") || table;
  wide.before(make("p", { className: "tools" }, make("label", {}, "Filter rows ", box), told));
}

// Rows of figures that are named alike, such as devices, are shown or hidden together.
const kinds = new Map();
for (const strips of document.querySelectorAll(".strips[data-of]")) {
  const names = [...strips.querySelectorAll(".strip")].map((strip) => strip.dataset.name);
  if (names.length > 1) kinds.set(strips.dataset.of, [strips, names, (kinds.get(strips.dataset.of) || [0, 0, []])[2].concat(names)]);
}
const many = (of) => (/[^aeiou]y$/.test(of) ? `${of.slice(0, -1)}ies` : `${of}s`);
for (const [of, [last, , names]] of kinds) {
  const first = [...document.querySelectorAll(".strips")].find((s) => s.dataset.of === of) || last;
  const all = [...new Set(names)];
  const choose = () => {
    const off = new Set([...group.querySelectorAll("input:not(:checked)")].map((box) => box.value));
    for (const each of document.querySelectorAll("[data-name]")) {
      if (all.includes(each.dataset.name)) each.hidden = off.has(each.dataset.name);
    }
  };
  const boxes = all.map((value) =>
    make("label", {}, make("input", { type: "checkbox", checked: true, value, onchange: choose }), value));
  const group = make("fieldset", {}, make("legend", {}, `Show ${many(of)}`), ...boxes);
  first.before(make("details", { className: "choose" }, make("summary", {}, `Choose ${many(of)}`), group));
}

// What is pointed at says its values at once, where a browser's own hint takes its time.
const tip = document.getElementById("tip");
const tell = (event) => {
  const point = event.target.closest && event.target.closest(".point, .box");
  const title = point && point.querySelector("title");
  tip.hidden = !title;
  if (!title) return;
  tip.textContent = title.textContent;
  const wide = document.documentElement.clientWidth;
  tip.style.left = `${Math.min(event.clientX + 12, wide - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.max(event.clientY - tip.offsetHeight - 8, 4)}px`;
};
for (const name of ["pointerover", "pointermove"]) document.addEventListener(name, tell);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
//]]>
