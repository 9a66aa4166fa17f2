// The data, the elements, and how figures are written. Texts from telemetry become text nodes, never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const strings = data.strings;
const text = (place) => (place == null || place < 0 ? "" : strings[place]);
/** A part that the source of the data does not have is null, and so are the runs where only metrics were read. */
const has = (part) => data[part] != null;
const runs = data.runs ?? { trace: [], currency: [] };
const runCount = runs.trace.length;

/** An element: h("p", {class: "note", onclick: f}, "text", other) - strings become text nodes. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes || {}, children);
  return element;
}

/** The same for a picture's parts. */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes || {}, children);
  return element;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false));
}

/** Control codes and direction marks as visible signs, so that a name shows what is in it. */
const visible = (value) =>
  String(value).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (sign) =>
    sign < "\u0020" ? String.fromCharCode(0x2400 + sign.charCodeAt(0)) : "\ufffd");

/** A name on one line. */
const label = (value, otherwise = "(no name)") => visible(value).replace(/[\n\t]/g, " ").slice(0, 400) || otherwise;

const number = new Intl.NumberFormat("en-US");
const compactNumber = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const count = (value) => (value == null ? "–" : number.format(value));
const compact = (value) => (value == null ? "–" : value < 10000 ? number.format(Math.round(value)) : compactNumber.format(value));

/** Milliseconds: 0.4 ms, 87 ms, 1.23 s, 2 m 05 s, 3 h 10 m. */
function duration(ms) {
  if (ms == null) return "–";
  const sign = ms < 0 ? "−" : "";
  ms = Math.abs(ms);
  if (ms === 0) return "0";
  if (ms < 0.1) return sign + "<0.1 ms";
  if (ms < 10) return sign + ms.toFixed(1) + " ms";
  if (ms < 999.5) return sign + ms.toFixed(0) + " ms";
  if (ms < 9995) return sign + (ms / 1000).toFixed(2) + " s";
  if (ms < 59950) return sign + (ms / 1000).toFixed(1) + " s";
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${sign}${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
  const minutes = Math.round(seconds / 60);
  return `${sign}${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} m`;
}

/** A part of 1: 0 %, <0.1 %, 3.1 %, 62 %. */
function percent(part) {
  if (part == null || !isFinite(part)) return "–";
  const value = part * 100;
  if (value === 0) return "0 %";
  if (Math.abs(value) < 0.1) return "<0.1 %";
  return (Math.abs(value) < 9.95 ? value.toFixed(1) : value.toFixed(0)) + " %";
}

/** An amount of money: below 1 three significant digits, 8 decimals at most. */
function money(amount, currency) {
  if (amount == null) return "–";
  let digits = 2;
  if (amount > 0 && amount < 1) digits = Math.min(8, 2 - Math.floor(Math.log10(amount)));
  return `${amount.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${visible(currency)}`.trim();
}

const costs = (pairs) => (pairs.length ? pairs.map(([currency, amount]) => money(amount, text(currency))).join(" + ") : "–");

function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (size >= 1023.5 && place < units.length - 1) { size /= 1024; place += 1; }
  return `${size >= 99.95 || place === 0 ? size.toFixed(0) : size.toFixed(1)} ${units[place]}`;
}

const two = (value) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** When, in the reader's own time zone: 14 Sep 13:06:40. */
function when(ms, { seconds = true, year = false } = {}) {
  const date = new Date(ms);
  const day = `${date.getDate()} ${MONTHS[date.getMonth()]}${year ? " " + date.getFullYear() : ""}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}${seconds ? ":" + two(date.getSeconds()) : ""}`;
}

/** From and to: 18 Sep 14:21 – 21 Sep 2026 14:10; of one day 21 Sep 2026 14:02 – 14:10. */
function rangeWords(from, to) {
  const start = when(from, { seconds: false, year: true }), end = when(to, { seconds: false, year: true });
  if (start === end) return start;
  return start.slice(0, -5) === end.slice(0, -5) ? `${start} – ${end.slice(-5)}` : `${when(from, { seconds: false })} – ${end}`;
}

const plural = (value, one, many = one + "s") => `${count(value)} ${value === 1 ? one : many}`;

const STATUS_WORDS = { ok: "ok", error: "failed", cancelled: "cancelled", paused: "paused", cached: "cached" };
const STATUS_SIGNS = { ok: "✓", error: "✕", cancelled: "⊘", paused: "‖", cached: "≡" };

function statusMark(status) {
  const known = Object.hasOwn(STATUS_WORDS, status) ? status : "other";
  return h("span", { class: `status status-${known}` },
    h("span", { class: "status-sign", "aria-hidden": "true" }, STATUS_SIGNS[known] || "?"), STATUS_WORDS[known] || label(status));
}

const KINDS = ["flow", "component", "agent", "tool", "model", "embeddings", "stream", "output", "request", "other"];
const KIND_WORDS = { model: "model call", embeddings: "embeddings call", output: "output method", request: "request" };
const kindOf = (what) => (KINDS.includes(what) ? what : "other");
const kindMark = (what) => h("span", { class: `kind kind-${kindOf(what)}`, title: KIND_WORDS[what] || what, "aria-hidden": "true" });

/** Where something stands on the page; a hash makes it a link. */
function href(view, parameters = {}, ...path) {
  const given = Object.entries(parameters).filter(([, value]) => value != null && value !== "");
  const query = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return `#/${[view, ...path.map(encodeURIComponent)].join("/")}${query ? "?" + query : ""}`;
}

function address() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const decoded = (value) => { try { return decodeURIComponent(value); } catch { return value; } };
  const parameters = new Map((query || "").split("&").filter(Boolean).map((pair) => {
    const [name, ...value] = pair.split("=");
    return [name, decoded(value.join("="))];
  }));
  const [view, ...rest] = path.split("/").map(decoded);
  return { view: view || "overview", path: rest, parameters };
}

/** Change parameters of the address without a new page in the browser's history, and without drawing anew. */
function remember(changes) {
  const { view, path, parameters } = address();
  for (const [name, value] of Object.entries(changes)) parameters.set(name, value);
  history.replaceState(null, "", href(view, Object.fromEntries(parameters), ...path));
}

const go = (target) => { location.hash = target; };

function copyButton(value, what) {
  const button = h("button", { class: "copy", type: "button", "aria-label": `Copy ${what}`, title: `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(value); } catch { fallbackCopy(value); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

/** A page that was opened as a file may not use the clipboard otherwise. */
function fallbackCopy(value) {
  const area = h("textarea", { class: "visually-hidden" });
  area.value = value;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Each trace is read when it is first looked at. */
const traces = new Map();
function traceOf(traceId) {
  if (!traces.has(traceId)) {
    const place = data.details ? data.details.traces.indexOf(traceId) : -1;
    traces.set(traceId, place < 0 ? null : JSON.parse(document.getElementById(`trace-${place}`).textContent));
  }
  return traces.get(traceId);
}
const detailed = new Set(data.details?.traces);

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const empty = (message, ...more) => h("div", { class: "empty" }, h("p", {}, message), ...more);
const section = (title, ...children) => h("section", { class: "panel" }, title && h("h2", {}, title), ...children);
const note = (...children) => h("p", { class: "note" }, ...children);
