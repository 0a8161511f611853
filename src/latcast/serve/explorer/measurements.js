// Measurements of the user: each moves the forecast of a device, and narrows its interval.

import { Refusal, latest, post, send, turns } from "./api.js";
import { changed, coverage, ofNetwork, shapes, state, target, tell } from "./app.js";
import { bars, el, ms, refocus } from "./charts.js";

const $ = (id) => document.getElementById(id);

/** Measured networks: id, name, shapes, ms, and what is forecast of them without measurements. */
let rows = [];
/** Number of measurements -> the forecast with so many. */
let history = new Map();

const ofRow = (row) => ({ network: row.id, name: row.name, shapes: row.shapes });

/** Send a measured model: where it leaves sides open, with those that are typed for the network above. */
const measured = async (file) => {
  try {
    return { id: (await send(file, {})).id };
  } catch (error) {
    if (!(error instanceof Refusal) || !shapes()) throw error;
    return { id: (await send(file, { shapes: shapes() })).id, shapes: shapes() };
  }
};

const device = () => $("measured-on").value;

const show = () => {
  $("rows").replaceChildren(...rows.map((row, n) => el("li", {},
    el("label", {}, `${row.name} took `, el("input", {
      type: "number", min: 0, step: "any", value: row.ms || "",
      onchange: (event) => {
        row.ms = Number(event.target.value);
        adapt();
      },
    }), " ms "),
    (row.told = el("span", { class: "soft" }, row.told?.textContent || "")), " ",
    el("button", { type: "button", "aria-label": `remove ${row.name}`, onclick: () => {
      rows = rows.filter((x) => x !== row);
      show();
      refocus($("rows"), n, $("measured"));
      adapt();
    } }, "×"))));
};

const told = (found) => `${ms(found.latency_ms)} ms, ${100 * coverage()} % interval ` +
  `${ms(found.lower_ms)} – ${ms(found.upper_ms)} ms`;

const showHistory = () => {
  const steps = [...history].sort((a, b) => a[0] - b[0]);
  if (!steps.length) return $("history").replaceChildren();
  bars($("history"), steps.map(([n, found]) => [n === 1 ? "1 measurement" : `${n || "no"} measurements`, found]));
  const [, first] = steps[0], [n, last] = steps[steps.length - 1];
  // Of the forecast, which moves, too.
  const width = (x) => (x.upper_ms - x.lower_ms) / x.latency_ms;
  const times = width(last) / width(first);
  $("moved").textContent = n ? `With ${n} measurement${n > 1 ? "s" : ""}: ${told(last)}, ` +
    `${times.toFixed(2)} times as wide as without${times > 1 ? contradiction() : ""}.` : "";
};

/** Why measurements widen an interval, and which one to look at: the farthest from what others say. */
const contradiction = () => {
  const known = rows.filter((row) => row.ms > 0 && row.forecast_ms);
  const off = known.map((row) => Math.log(row.ms / row.forecast_ms)).sort((a, b) => a - b);
  if (!off.length) return "";
  const factor = (x) => +Math.exp(x).toPrecision(2);
  if (off.length === 1) {
    return `: it took ${factor(off[0])} times what is forecast; check its unit, runtime and threads, or measure more`;
  }
  const far = (row) => {
    const others = off.filter((x) => x !== Math.log(row.ms / row.forecast_ms));
    return Math.abs(Math.log(row.ms / row.forecast_ms) - others.reduce((a, b) => a + b, 0) / (others.length || 1));
  };
  const worst = known.reduce((a, b) => (far(b) > far(a) ? b : a));
  return `, as they took ${factor(off[0])} to ${factor(off[off.length - 1])} times what is forecast; check unit, ` +
    `runtime and threads of ${worst.name} first, which agrees least with the others`;
};

const forecast = async (more) => {
  const record = await post("v1/forecast", { ...target(), coverage: coverage(), ...more });
  const found = record.devices.find((d) => d.error === null);
  if (!found) throw new Refusal(record.devices[0].error);
  return found;
};

const adapt = latest(async () => {
  const known = rows.filter((row) => row.ms > 0);
  // Another network, device or target has a history of its own, and is adapted to after this.
  const own = history;
  $("moved").classList.remove("warn");
  try {
    if (!own.has(0) && state.network && device()) {
      own.set(0, await forecast({ ...ofNetwork(), devices: [device()] }));
    }
    for (const row of known) {
      if (row.forecast_ms) continue;
      row.forecast_ms = (await forecast({ ...ofRow(row), devices: [device()] })).latency_ms;
      row.told.textContent = `(forecast: ${ms(row.forecast_ms)} ms)`;
    }
    let model = null;
    if (known.length) {
      if (own === history) $("moved").textContent = "adapting …";
      const measurements = known.map((row) => ({ ...ofRow(row), latency_ms: row.ms }));
      const adapted = await post("v1/adapt", { device: device(), ...target(), measurements });
      model = { id: adapted.model, count: known.length };
      if (state.network) own.set(known.length, await forecast({ ...ofNetwork(), model: model.id }));
    }
    if (own !== history) return;
    state.model = model;
    for (const n of history.keys()) if (n > known.length) history.delete(n);
    showHistory();
    changed();
    if (isSuggesting) suggest();
  } catch (error) {
    if (own === history) tell($("moved"), error);
  }
});

const suggesting = turns();
/** Whether suggestions are shown: they follow the measurements. */
let isSuggesting = false;

/** What was forecast is of another network, device or target now. */
const anew = () => {
  history = new Map();
  isSuggesting = false;
  $("measured-this").disabled = $("suggest").disabled = !(state.network && device());
  suggesting();
  $("suggested").replaceChildren();
  if (rows.length) adapt();
  else showHistory();
};

/** What was adapted is of another device or target. */
const anewElsewhere = () => {
  state.model = null;
  for (const row of rows) {
    row.forecast_ms = null;
    row.told.textContent = "";
  }
  anew();
};

const suggest = async () => {
  const place = $("suggested"), isLast = suggesting(), model = state.model;
  isSuggesting = true;
  place.textContent = "looking for what tells most …";
  place.classList.remove("warn");
  try {
    const { name, ...network } = ofNetwork();
    const found = await post("v1/suggest", { device: device(), model: model?.id, ...network, name, ...target(),
      coverage: coverage() });
    if (!isLast()) return;
    const steps = [...(found.itself ? [found.itself] : []), ...found.networks];
    place.replaceChildren(el("p", {}, "Measure these on the device (latcast measure), the one that narrows the interval " +
      "most first; each interval is the one to expect once it and those above it are measured" +
      (model ? `, after your ${model.count === 1 ? "measurement" : `${model.count} measurements`}:` : ":")));
    const list = el("div");
    place.append(list);
    bars(list, steps.map((step) => [step.network,
      { ...step, latency_ms: found.latency_ms }]));
  } catch (error) {
    if (isLast()) tell(place, error);
  }
};

export const begin = () => {
  $("measured").addEventListener("change", async () => {
    for (const file of $("measured").files) {
      try {
        rows.push({ ...(await measured(file)), name: file.name, ms: 0 });
      } catch (error) {
        tell($("moved"), error);
      }
    }
    $("measured").value = "";
    show();
  });
  $("measured-this").addEventListener("click", () => {
    rows.push({ ...state.network, shapes: shapes(), ms: 0 });
    show();
  });
  $("suggest").addEventListener("click", suggest);
  $("measured-on").addEventListener("change", anewElsewhere);
  document.addEventListener("network", anew);
  document.addEventListener("devices", () => {
    const before = device();
    $("measured-on").replaceChildren(...state.devices.map((name) => el("option", { value: name }, name)));
    if (state.devices.includes(before)) $("measured-on").value = before;
    if (device() !== before) anewElsewhere();
  });
  $("coverage").addEventListener("change", anew);
  for (const id of ["batch", "threads", "runtime"]) $(id).addEventListener("change", anewElsewhere);
  for (const box of document.querySelectorAll("[name=precision]")) box.addEventListener("change", anewElsewhere);
};
