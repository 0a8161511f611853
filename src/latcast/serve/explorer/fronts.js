// Fronts to click through: pretrained models within the budget, and the networks of a search space.

import { end, get, post, turns } from "./api.js";
import { budget, coverage, state, target, tell } from "./app.js";
import { bars, count, el, facts, front, ms } from "./charts.js";

const $ = (id) => document.getElementById(id);

const interval = (x) => (x.lower_ms === null ? "not calibrated" : `${ms(x.lower_ms)} – ${ms(x.upper_ms)} ms`);

const COSTS = { macs: "MACs", params: "parameters", bytes: "memory traffic, bytes",
  launches: "layers", activation_bytes: "peak of activations, bytes" };

const choosing = turns();
const choose = async () => {
  const told = $("choice"), isLast = choosing();
  told.classList.remove("warn");
  $("choice-facts").replaceChildren();
  $("choice-front").replaceChildren();
  if (!budget() || !$("choose-on").value) {
    told.textContent = "Choose a device and a budget.";
    return;
  }
  told.textContent = "choosing …";
  try {
    const found = await post("v1/choose", { device: $("choose-on").value, max_latency_ms: budget(),
      coverage: coverage(), ...target() });
    if (!isLast()) return;
    const models = found.models;
    told.textContent = models.length
      ? `${models[0].model} is the most accurate of ${found.fitting} within ${budget()} ms on ${found.target}.`
      : `None of ${found.compared} models is within ${budget()} ms on ${found.target}.`;
    if (!models.length) return;
    const points = models.map((m) => ({ x: m.latency_ms, y: m.top1, lower: m.lower_ms, upper: m.upper_ms, of: m,
      text: `${m.model}: ${m.top1.toFixed(1)} % top-1, ${ms(m.latency_ms)} ms` }));
    front($("choice-front"), points, "ImageNet top-1, %", (m) => {
      $("choice-facts").replaceChildren(facts([["model", m.model], ["input", `${m.image_size} x ${m.image_size}`],
        ["top-1", `${m.top1.toFixed(2)} % (${found.accuracy_of})`], ["latency", `${ms(m.latency_ms)} ms`],
        [`${100 * found.coverage} % interval`, interval(m)],
        ["P(within budget)", m.probability.toFixed(2)], ["memory", `${count(m.memory_bytes)}B`],
        ["MACs", count(m.macs)], ["parameters", count(m.params)]]));
    });
  } catch (error) {
    if (isLast()) tell(told, error);
  }
};

let job = null;

/** Wait for a job, and tell how far it is. */
const follow = async (id) => {
  for (;;) {
    const now = await get(`v1/jobs/${id}`);
    if (!["queued", "running"].includes(now.state)) return now;
    $("searching").textContent = now.text || now.state;
    if (now.total) {
      $("progress").max = now.total;
      $("progress").value = now.done;
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
};

const search = async () => {
  const told = $("searching"), device = $("search-on").value, space = $("space").value;
  told.classList.remove("warn");
  $("search-facts").replaceChildren();
  $("search-front").replaceChildren();
  if (!device) {
    told.textContent = "Choose a device.";
    return;
  }
  $("search").disabled = true;
  $("cancel").hidden = $("progress").hidden = false;
  try {
    const { runtime, precision, batch } = target();
    job = await post("v1/jobs", { command: "search", device: [device], space, runtime, precision, batch,
      evaluations: Number($("evaluations").value) || undefined, ...(budget() ? { max_latency_ms: [budget()] } : {}) });
    const { state: how, result } = await follow(job.id);
    if (how === "done") showSearch(result);
    else told.textContent = how === "failed" ? result.error : "The search was ended.";
    told.classList.toggle("warn", how === "failed");
  } catch (error) {
    tell(told, error);
  } finally {
    $("search").disabled = false;
    $("cancel").hidden = $("progress").hidden = true;
    job = null;
  }
};

const showSearch = (found) => {
  const best = found.found[0];
  $("searching").textContent = best
    ? `${(100 * best.accuracy).toFixed(1)} % top-1 within ${best.max_latency_ms} ms on ${found.target}, by forecast; ` +
      `${found.front.length} networks are on the front.`
    : `${found.front.length} networks are on the front of ${found.space} on ${found.target}.`;
  const points = found.front.map((x) => ({ x: x.latency_ms, y: 100 * x.accuracy, of: x,
    text: `${(100 * x.accuracy).toFixed(1)} % top-1, ${ms(x.latency_ms)} ms` }));
  front($("search-front"), points, "top-1 by the accuracy model, %", (x) => showArch(found, x));
};

const showArch = (found, network) => {
  const place = el("div"), asking = turns();
  const others = el("button", { type: "button", onclick: async () => {
    const isLast = asking();
    try {
      const record = await post("v1/forecast", { archs: [network.arch], space: found.space, coverage: coverage(),
        devices: state.devices });
      if (!isLast()) return;
      bars(place, record.devices.filter((d) => d.error === null).map((d) => [d.target, d.architectures[0]]), budget());
      for (const d of record.devices) if (d.error !== null) place.append(el("p", { class: "warn" }, `${d.device}: ${d.error}`));
    } catch (error) {
      if (isLast()) tell(place, error);
    }
  } }, "Forecast on all chosen devices");
  $("search-facts").replaceChildren(facts([["top-1", `${(100 * network.accuracy).toFixed(2)} %`],
    ["latency", `${ms(network.latency_ms)} ms on ${found.target}`], ["interval", interval(network)],
    ...Object.entries(network.costs || {}).map(([name, value]) => [COSTS[name] || name, count(value)])]),
  el("pre", { tabindex: 0, "aria-label": "architecture" }, JSON.stringify(network.arch)), others, place);
};

export const begin = () => {
  $("choose").addEventListener("click", choose);
  $("search").addEventListener("click", search);
  $("cancel").addEventListener("click", () => job && end(`v1/jobs/${job.id}`));
  document.addEventListener("devices", () => {
    for (const id of ["choose-on", "search-on"]) {
      const before = $(id).value;
      $(id).replaceChildren(...state.devices.map((name) => el("option", { value: name }, name)));
      if (state.devices.includes(before)) $(id).value = before;
    }
  });
};
