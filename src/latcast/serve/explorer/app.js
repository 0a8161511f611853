// What is asked, the forecast as it is typed, and what belongs to the network that is open.

import { Refusal, get, latest, page, post, send, turns } from "./api.js";
import { bars, count, download, el, ms, refocus } from "./charts.js";
import { begin as beginFronts } from "./fronts.js";
import { begin as beginMeasurements } from "./measurements.js";

const $ = (id) => document.getElementById(id);

/** What is open and chosen. */
export const state = { network: null, file: null, devices: [], model: null, record: null };

const number = (id) => (Number($(id).value) > 0 ? Number($(id).value) : undefined);
export const budget = () => number("budget");

/** Shapes that were typed, such as `input=1x128, tokens=64`, and the length of those that are sequences. */
export const shapes = () => {
  const found = number("sequence") ? { sequence: [number("sequence")] } : {};
  for (const each of $("shapes").value.split(/[,;]\s*/)) {
    const match = each.trim().match(/^(.+?)=(\d+(?:x\d+)*)$/);
    if (match) found[match[1]] = match[2].split("x").map(Number);
  }
  return Object.keys(found).length ? found : undefined;
};

const precisions = () => [...document.querySelectorAll("[name=precision]:checked")].map((x) => x.value);

/** Which target of a device is meant. */
export const target = () => {
  const chosen = precisions();
  return {
    runtime: $("runtime").value.trim() || undefined,
    precision: chosen.length === 1 ? chosen[0] : undefined,
    batch: number("batch"), threads: number("threads"),
  };
};
export const coverage = () => Number($("coverage").value);
export const ofNetwork = () => ({ network: state.network.id, name: state.network.name, shapes: shapes() });

const asked = () => {
  const chosen = precisions();
  return { ...ofNetwork(), ...target(), precision: chosen.length ? chosen : undefined,
    coverage: coverage(), devices: state.devices, model: state.model?.id };
};

/** Say what went wrong in an element, in place of an answer. */
export const tell = (place, error) => {
  if (!(error instanceof Refusal) && !(error instanceof TypeError)) throw error;
  // Messages are a command's: what it takes as options has a field here.
  const here = (text) => text.replace(/\((--shape [^()]+)\)/, (_, given) =>
    `(under "Shapes that it leaves open": ${given.replaceAll(" --shape ", ", ").replace("--shape ", "")})`);
  place.textContent = error instanceof Refusal ? here(error.message) : "The service does not answer.";
  place.classList.add("warn");
};

const answerOf = (rows, ofBudget) => {
  if (!rows.length) return "No device has an answer.";
  if (ofBudget) {
    const fits = rows.filter((d) => d.latency_ms <= ofBudget).length;
    const sure = rows.filter((d) => d.upper_ms <= ofBudget).length;
    return `Fits ${ofBudget} ms by forecast on ${fits} of ${rows.length}, with the whole interval on ${sure}.`;
  }
  const best = rows.reduce((a, b) => (b.latency_ms < a.latency_ms ? b : a));
  return rows.length === 1 ? `${ms(best.latency_ms)} ms on ${best.target}.`
    : `${ms(best.latency_ms)} ms on ${best.target}, the fastest of ${rows.length}.`;
};

/** What the user should know, each once, with the targets that it is of where others have an answer without it. */
const notesOf = (record) => {
  const answered = record.devices.filter((d) => d.error === null), of = new Map();
  for (const d of answered) for (const note of d.notes) of.set(note, [...(of.get(note) || []), titleOf(d)]);
  const told = [...of].map(([note, titles]) =>
    titles.length === answered.length ? note : `${titles.join(", ")}: ${note}`);
  const failed = record.devices.filter((d) => d.error !== null).map((d) => `${d.device}: ${d.error}`);
  return [...new Set([...record.notes, ...told, ...failed])];
};

const titleOf = (row) =>
  state.model && row.device === state.model.id ? `${row.target}, with your measurements` : row.target;

/** Show no forecast: what an earlier one said is no answer to what is asked now. */
const none = () => {
  state.record = null;
  $("page").disabled = $("json").disabled = $("graph").hidden = $("notes").hidden = true;
  $("bars").replaceChildren();
  $("notes").replaceChildren();
};

const forecast = latest(async () => {
  const ready = state.network && (state.devices.length || state.model);
  if (!ready) {
    none();
    $("answer").classList.remove("warn");
    $("answer").textContent = state.network ? "Choose a device." : state.devices.length ? "Choose a model file."
      : "Choose a model file and a device.";
    return;
  }
  const network = state.network;
  $("answer").classList.remove("warn");
  let found = null, wrong = null;
  try {
    found = await post("v1/forecast", asked());
  } catch (error) {
    wrong = error;
  }
  if (network !== state.network) return; // another file was opened, whose forecast follows
  if (wrong) {
    none();
    tell($("answer"), wrong);
    return;
  }
  state.record = found;
  $("page").disabled = $("json").disabled = $("graph").hidden = false;
  const rows = state.record.devices.filter((d) => d.error === null);
  // What was measured stands for its target, which has a row without it, too.
  const own = rows.find((d) => d.device === state.model?.id);
  $("answer").textContent = answerOf(rows.filter((d) => d === own || d.target !== own?.target), budget());
  if (rows.length) bars($("bars"), rows.map((d) => [titleOf(d), d]), budget());
  const notes = notesOf(state.record);
  $("notes").replaceChildren(...notes.map((text) => el("li", {}, text)));
  $("notes").hidden = !notes.length;
  if ($("graph").open) await drawGraph().catch((error) => tell($("answer"), error));
});

const drawing = turns();
/** The drawing of the forecast's page, with the script that pages have. */
const drawGraph = async () => {
  const isLast = drawing();
  const text = await page("v1/forecast", asked());
  if (!isLast()) return;
  // Alone: the page around it has styles that this one's policy refuses.
  const start = text.indexOf('<div class="drawing"');
  const drawn = start < 0 ? "" : text.slice(start, text.indexOf("</section>", start));
  const parsed = new DOMParser().parseFromString(drawn, "text/html").body;
  const place = $("graph").querySelector("div");
  place.replaceChildren(...[...parsed.children].map((each) => document.importNode(each, true)));
  place.append(el("script", { src: "shared/drawing.js" }));
};

let timer = 0;
/** Forecast soon: what is typed meanwhile counts, too. */
export const changed = () => {
  clearTimeout(timer);
  timer = setTimeout(forecast, 250);
};

/** The file that is being sent: one that is chosen meanwhile takes its place. */
let sending = null;
/** Open a network of a file. */
const open = async (file) => {
  if (!file) return;
  if (sending) sending.abort();
  const own = (sending = new AbortController());
  $("network").classList.remove("warn");
  $("network").textContent = `sending ${file.name} …`;
  state.file = file;
  let sent = null, wrong = null;
  try {
    sent = await send(file, { shapes: shapes() }, own.signal);
  } catch (error) {
    wrong = error;
  }
  if (own !== sending) return;
  if (wrong) {
    state.network = null;
    tell($("network"), wrong);
  } else {
    const { total, fused } = sent.inspection;
    state.network = { id: sent.id, name: file.name };
    const counted = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;
    $("network").textContent = `${file.name}: ${counted(total.layers, "layer")} in ${counted(fused.kernels, "kernel")}, ` +
      `${count(total.macs)} MACs, ${count(total.params)} parameters`;
  }
  document.dispatchEvent(new Event("network"));
  changed();
};

const addDevice = (name) => {
  if (!name || state.devices.includes(name)) return;
  state.devices.push(name);
  showDevices();
};
const showDevices = () => {
  $("chosen").replaceChildren(...state.devices.map((name, n) => el("li", {}, el("button", {
    type: "button", "aria-label": `remove ${name}`,
    onclick: () => {
      state.devices = state.devices.filter((x) => x !== name);
      showDevices();
      refocus($("chosen"), n, $("device"));
    },
  }, `${name} ×`))));
  document.dispatchEvent(new Event("devices"));
  changed();
};

const listen = () => {
  $("asked").addEventListener("submit", (event) => event.preventDefault());
  $("file").addEventListener("change", () => open($("file").files[0]));
  for (const id of ["shapes", "sequence"]) $(id).addEventListener("change", () => open(state.file));
  const drop = $("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    // Anywhere: a file that misses the frame would else be opened in the page's place.
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") open(event.dataTransfer.files[0]);
    });
  }
  const device = $("device");
  const take = (event) => {
    const known = [...$("devices").options].some((option) => option.value === device.value);
    if (event.type === "input" ? !known || event.inputType : !device.value.trim()) return;
    addDevice(device.value.trim());
    device.value = "";
  };
  device.addEventListener("change", take);
  device.addEventListener("input", take);
  for (const id of ["batch", "sequence", "threads", "runtime", "budget", "coverage"]) {
    $(id).addEventListener("input", changed);
  }
  for (const box of document.querySelectorAll("[name=precision]")) box.addEventListener("change", changed);
  const trying = (call) => call().catch((error) => tell($("answer"), error));
  $("graph").addEventListener("toggle", () => $("graph").open && state.network && trying(drawGraph));
  const stem = () => state.network.name.replace(/\.\w+$/, "");
  $("page").addEventListener("click", () => trying(async () =>
    download(`${stem()}.html`, await page("v1/forecast", asked()), "text/html")));
  $("json").addEventListener("click", () =>
    download(`${stem()}.json`, JSON.stringify(state.record, null, 2), "application/json"));
  $("key").addEventListener("change", start);
};

/** What the address names, as `latcast explore` opens it: `?network=ID&device=raspberry-pi-4`. */
const openAddress = async () => {
  const asked = new URLSearchParams(location.search), id = asked.get("network");
  for (const name of asked.getAll("device")) if (!state.devices.includes(name)) state.devices.push(name);
  if (!id || state.network) return;
  const { name } = await get(`v1/networks/${encodeURIComponent(id)}`);
  if (state.network || sending) return;
  state.network = { id, name };
  $("network").textContent = name;
  document.dispatchEvent(new Event("network"));
};

const start = async () => {
  try {
    const [{ devices }, { spaces }] = await Promise.all([get("v1/devices"), get("v1/spaces")]);
    $("devices").replaceChildren(...devices.map((d) => el("option", { value: d.name }, d.title)));
    $("space").replaceChildren(...spaces.map((s) => el("option", { value: s.name }, s.name)));
    $("locked").hidden = true;
    await openAddress();
    showDevices();
  } catch (error) {
    tell($("answer"), error);
  }
};

listen();
beginMeasurements();
beginFronts();
start();
