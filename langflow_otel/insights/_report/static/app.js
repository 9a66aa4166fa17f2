// Which view is shown, the way from one to the other, the flow that is looked at, colours and keys.

/** Name, title, function, and the part of the data without which the view is left out. */
const VIEWS = [
  ["overview", "Overview", overviewView, "overview"], ["runs", "Runs", runsView, "runs"], ["flame", "Flame graph", flameView, "flames"],
  ["components", "Components", componentsView, "components"], ["critical", "Critical path", criticalView, "critical"], ["errors", "Errors", errorsView, "errors"],
  ["models", "Models", modelsView, "models"], ["sessions", "Sessions", sessionsView, "sessions"], ["data", "About the data", dataView, "missing"],
].filter(([, , , part]) => has(part));
const BADGES = {
  runs: data.overview.all?.runs, errors: data.errors?.name.length, sessions: data.sessions?.session_id.length, models: data.models?.[0]?.uses.model.length,
  data: data.missing.length,
};

const main = h("main", { id: "main", tabindex: "-1" });
const links = VIEWS.map(([name, title]) => h("a", { "data-view": name }, title, BADGES[name] ? h("span", { class: "badge" }, compact(BADGES[name]), name === "sessions" && BADGES[name] >= data.most_sessions && "+") : ""));
const flowNames = data.overview.flows.map((each) => text(each.flow));
const flowChoice = h("select", { "aria-label": "Flow" }, h("option", { value: "" }, "All flows"), flowNames.map((name) => h("option", { value: name }, label(name).slice(0, 60))));
const themeButton = h("button", { type: "button", class: "button theme", "aria-label": "Light or dark", title: "Light or dark", onclick: switchTheme }, h("span", { "aria-hidden": "true" }, "◐"));
const help = h("dialog", { class: "help", "aria-label": "Keys" }, h("h2", {}, "Keys"), h("dl", {}, [["/", "search in this view"], ["↑ ↓", "from row to row, from span to span"], ["← →", "fold and unfold; from frame to frame"], ["Enter", "open"], ["z", "zoom to the span"], ["Esc", "back: close, zoom out, clear the search"], ["1 – 9", "the views"], ["t", "light or dark"], ["?", "this"]].map(([key, words]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, words)))),
  h("button", { type: "button", class: "button", onclick: () => help.close() }, "Close"));

document.getElementById("app").append(
  h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "To the content"),
  h("header", { class: "top" }, h("a", { class: "brand", href: "#/overview" }, svg("svg", { viewBox: "0 0 20 20", width: 20, height: 20, "aria-hidden": "true" }, svg("rect", { x: 1, y: 3, width: 18, height: 3.4, rx: 1.7 }), svg("rect", { x: 4, y: 8.3, width: 9, height: 3.4, rx: 1.7 }), svg("rect", { x: 11, y: 13.6, width: 8, height: 3.4, rx: 1.7 })), h("b", {}, "LangFlow"), " runs"), flowChoice,
    h("span", { class: "range" }, data.overview.all ? rangeWords(data.overview.first_ms, data.overview.last_ms) : ""),
    h("button", { type: "button", class: "button keys", "aria-label": "Keys", title: "Keys (?)", onclick: () => help.showModal() }, "?"), themeButton),
  h("div", { class: "page" }, h("nav", { class: "views", "aria-label": "Views" }, links), main), help);

flowChoice.addEventListener("change", () => {
  const { view, parameters } = address(), kept = view === "flame" || view === "run" ? {} : Object.fromEntries(parameters);
  go(href(view === "run" ? "runs" : view, { ...kept, q: "", flow: flowChoice.value }));
});

/** The list, chart or table from which a run was opened: Escape leads there, not to what the browser showed before this page. */
let cameFrom = null;
const isRun = (view) => view === "run" || view === "trace";

function goBack() {
  const { view, parameters } = address();
  go(isRun(view) ? cameFrom || href("runs") : href(view, { flow: parameters.get("flow") }));
}

let drawn = null;
function draw() {
  const at = address(), known = VIEWS.find(([name]) => name === at.view), flow = at.parameters.get("flow") || "";
  const view = isRun(at.view) ? runView : known ? known[2] : overviewView;
  const current = view === runView ? "runs" : known ? at.view : "overview";
  dropCharts();
  main.replaceChildren();
  main.className = `view-${view === runView ? "run" : current}`;
  flowChoice.value = flowNames.includes(flow) ? flow : "";
  for (const link of links) {
    link.setAttribute("href", href(link.dataset.view, { flow: flowChoice.value }));
    if (link.dataset.view === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  links.find((link) => link.dataset.view === current)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (!data.overview.all && current !== "data") main.append(h("h1", {}, "No runs"), empty("No run of a flow is in these traces, or none that was asked for.", h("a", { href: "#/data" }, "What was read")));
  else view(main, { ...at, flow: flowChoice.value });
  document.title = `${main.querySelector("h1")?.textContent || "LangFlow"} – LangFlow runs`;
  const page = `${at.view}/${at.path.join("/")}`;
  if (drawn !== null && drawn !== page) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
  drawn = page;
}

function switchTheme() {
  const dark = themeNow() === "dark";
  keptTheme = document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("langflow-otel-theme", keptTheme); } catch { /* a file may have no store */ }
  draw();
}
const themeNow = () => document.documentElement.dataset.theme;
const systemTheme = matchMedia("(prefers-color-scheme: dark)");
let keptTheme = null;
try { keptTheme = localStorage.getItem("langflow-otel-theme"); } catch { /* the same */ }
document.documentElement.dataset.theme = keptTheme === "dark" || keptTheme === "light" ? keptTheme : systemTheme.matches ? "dark" : "light";

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape" && event.target.matches("input[type=search]")) {
    if (event.target.value) { event.target.value = ""; event.target.dispatchEvent(new Event("input")); } else event.target.blur();
    return;
  }
  if (event.key === "Escape" && !help.open && (address().view === "sessions" ? address().parameters.get("session") : isRun(address().view))) { goBack(); return; }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const place = Number(event.key);
  if (event.key === "/") { event.preventDefault(); main.querySelector("input[type=search]")?.focus(); }
  else if (event.key === "?") help.showModal();
  else if (event.key === "t") switchTheme();
  else if (event.key === "ArrowDown" && (event.target === document.body || event.target === main)) firstRow(event);
  else if (place >= 1 && place <= VIEWS.length) go(links[place - 1].getAttribute("href"));
});
/** Of a view that was just opened nothing has the focus: the arrow goes to its first row, frame or span. */
function firstRow(event) {
  const first = main.querySelector("tr.opens[tabindex='0'], [role=treeitem][tabindex='0']");
  if (!first) return;
  event.preventDefault();
  first.focus();
}

/** What is cut off for lack of room is whole in its tooltip. */
document.addEventListener("mouseover", (event) => {
  let element = event.target;
  for (let up = 0; up < 4 && element instanceof HTMLElement && element !== main; up += 1, element = element.parentElement) {
    if (element.scrollWidth <= element.clientWidth || getComputedStyle(element).textOverflow !== "ellipsis") continue;
    if (!element.title) element.title = element.textContent;
    return;
  }
});
addEventListener("hashchange", (event) => {
  const before = new URL(event.oldURL).hash;
  if (!isRun(before.split("/")[1])) cameFrom = before;
  draw();
});
systemTheme.addEventListener("change", () => {
  if (keptTheme) return;
  document.documentElement.dataset.theme = systemTheme.matches ? "dark" : "light";
  draw();
});
draw();
document.documentElement.dataset.ready = "true";
