// The list of runs: searched, filtered, sorted. Of thousands of rows only those in view are elements.

const ROW_HEIGHT = 36;
const runHref = (place, span) => href("run", { span }, runs.trace[place], runs.span[place]);

const CURRENCIES = [...new Set(runs.currency.map(text))].filter(Boolean);
const ONE_CURRENCY = CURRENCIES.length === 1 ? CURRENCIES[0] : "";

const RUN_COLUMNS = [
  { name: "status", title: "Status", value: (place) => text(runs.status[place]), cell: (place) => statusMark(text(runs.status[place])) },
  { name: "start", title: "Started", value: (place) => runs.start[place], cell: (place) => when(runs.start[place]) },
  { name: "flow", title: "Flow", value: (place) => text(runs.flow[place]), cell: (place) => h("a", { href: runHref(place), tabindex: "-1" }, label(text(runs.flow[place]))) },
  { name: "duration", title: "Duration", number: true, value: (place) => runs.duration[place], cell: (place, scale) => [shareBar(runs.duration[place] / scale, text(runs.status[place]) === "error" ? "bad" : ""), figure(duration(runs.duration[place] / 1000))] },
  { name: "slowest", title: "Longest component", value: (place) => text(runs.slowest[place]), cell: (place) => label(text(runs.slowest[place]), "–") },
  { name: "error", title: "Error", value: (place) => text(runs.error[place]), cell: (place) => h("span", { class: "bad-word" }, label(text(runs.error[place]), "")) },
  { name: "tokens", title: "Tokens", number: true, value: (place) => tokensOf(place), cell: (place) => compact(tokensOf(place)) },
  { name: "cost", title: ONE_CURRENCY ? `Cost, ${label(ONE_CURRENCY)}` : "Cost", number: true, value: (place) => runs.cost[place], cell: (place) => money(runs.cost[place], ONE_CURRENCY ? "" : text(runs.currency[place])) },
  { name: "session", title: "Session", value: (place) => text(runs.session[place]), cell: (place) => label(text(runs.session[place]), "–") },
  { name: "version", title: "Version", value: (place) => text(runs.version[place]), cell: (place) => h("code", {}, label(text(runs.version[place]), "–").slice(0, 7)) },
];
const tokensOf = (place) => (runs.input[place] == null ? null : runs.input[place] + (runs.output[place] || 0));

const FILTERS = [["status", "Status"], ["version", "Version"], ["entry", "Entry point"], ["error", "Error"], ["instance", "Process"]];

/** What a search looks at, in small letters; made when it is first needed. */
let searched = null;
function searchTexts() {
  const lower = strings.map((each) => each.toLowerCase());
  const part = (place) => (place < 0 ? "" : lower[place]);
  const names = ["flow", "session", "error", "slowest", "user", "version", "status", "entry", "instance", "category"];
  searched ??= runs.trace.map((trace, place) => [trace, runs.span[place], ...names.map((name) => part(runs[name][place]))].join("\u0001"));
  return searched;
}

function foundRuns(flow, parameters) {
  const words = (parameters.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = FILTERS.map(([name]) => [runs[name], parameters.get(name)]).filter(([, value]) => value);
  const from = Number(parameters.get("from") || 0), to = Number(parameters.get("to") || Infinity);
  const atLeast = Number(parameters.get("min") || 0) * 1000000;
  const texts = words.length ? searchTexts() : null;
  return placesOf(flow).filter((place) =>
    runs.start[place] >= from && runs.start[place] <= to && runs.duration[place] >= atLeast
    && (!parameters.get("session") || text(runs.session[place]) === parameters.get("session"))
    && wanted.every(([column, value]) => text(column[place]) === value)
    && words.every((word) => texts[place].includes(word)));
}

function runsView(main, { flow, parameters }) {
  const asked = new Map(parameters);
  let sort = asked.get("sort") || "start", descending = asked.get("order") !== "up", found = [], scale = 1;
  const said = h("p", { class: "found", role: "status" });
  const list = runList((place) => RUN_COLUMNS.map((column) => h("td", { class: `c-${column.name}${column.number ? " number" : ""}` }, column.cell(place, scale))));
  const heads = RUN_COLUMNS.map((column) => h("th", { scope: "col", class: `c-${column.name}${column.number ? " number" : ""}`, "data-column": column.name },
    h("button", { type: "button", class: "sort", onclick: () => {
      descending = sort === column.name ? !descending : true;
      sort = column.name;
      change({ sort, order: descending ? "" : "up" });
    } }, column.title)));
  function change(changes) {
    for (const [name, value] of Object.entries(changes)) asked.set(name, value);
    remember(changes);
    draw();
  }
  function draw() {
    found = foundRuns(flow, asked);
    scale = found.reduce((most, place) => Math.max(most, runs.duration[place]), 1);
    const failed = found.filter((place) => text(runs.status[place]) === "error").length;
    said.replaceChildren(`${plural(found.length, "run")}${failed ? `, ${count(failed)} failed` : ""}${data.listed < data.overview.all.runs ? `, of the ${count(data.listed)} that this report lists` : ""}`,
      asked.get("session") ? chip(`session ${label(asked.get("session"))}`, () => change({ session: "" })) : "",
      asked.get("from") ? chip(`${when(Number(asked.get("from")))} to ${when(Number(asked.get("to")))}`, () => change({ from: "", to: "" })) : "");
    for (const head of heads) head.setAttribute("aria-sort", head.dataset.column !== sort ? "none" : descending ? "descending" : "ascending");
    found = sortedBy(found, RUN_COLUMNS.find((column) => column.name === sort)?.value || ((place) => runs.start[place]), descending);
    list.show(found);
  }
  const search = searchField("Search runs", "flow, session, error, trace id …", asked.get("q") || "", (value) => change({ q: value }));
  search.addEventListener("keydown", (event) => { if (event.key === "ArrowDown") { event.preventDefault(); list.focus(); } });
  main.append(h("h1", {}, "Runs"), h("div", { class: "toolbar" }, search,
    FILTERS.map(([name, title]) => choice(title, optionsOf(runs[name], name), asked.get(name) || "", (value) => change({ [name]: value }))),
    choice("Duration", [["1", "over 1 s"], ["5", "over 5 s"], ["10", "over 10 s"], ["30", "over 30 s"], ["60", "over 1 m"]], asked.get("min") || "", (value) => change({ min: value }))), said,
    h("div", { class: "table-scroll tall" }, list.table(heads)));
  draw();
  const left = found.indexOf(leftRun);
  if (left >= 0) requestAnimationFrame(() => list.focus(left));
  leftRun = -1;
}

/** The run that was looked at last: the list comes back with the focus on it. */
let leftRun = -1;

/** A table of which only the rows in view are there. */
function runList(cells) {
  let places = [], from = -1, focused = 0;
  const body = h("tbody", {}), before = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td")), after = before.cloneNode(true);
  let table = null;
  function row(place, index) {
    const element = h("tr", { class: "opens", tabindex: index === focused ? "0" : "-1", "aria-rowindex": index + 2, "data-index": index }, cells(place));
    element.addEventListener("click", (event) => { if (!event.target.closest("a") && !getSelection().toString()) go(runHref(place)); });
    return element;
  }
  function draw(anew) {
    const scroll = table.parentElement, height = scroll.clientHeight || 700;
    const first = Math.max(0, Math.floor(scroll.scrollTop / ROW_HEIGHT) - 10) & ~7;
    if (!anew && first === from) return;
    from = first;
    const last = Math.min(places.length, first + Math.ceil(height / ROW_HEIGHT) + 28);
    const had = body.contains(document.activeElement);
    before.style.setProperty("height", `${first * ROW_HEIGHT}px`);
    after.style.setProperty("height", `${(places.length - last) * ROW_HEIGHT}px`);
    const top = scroll.scrollTop;
    body.replaceChildren(before, ...places.slice(first, last).map((place, index) => row(place, first + index)), after);
    // Without the row that has the focus the browser may scroll to where there are rows.
    if (scroll.scrollTop !== top) scroll.scrollTop = top;
    if (had) body.querySelector(`[data-index="${focused}"]`)?.focus({ preventScroll: true });
  }
  function focus(index) {
    if (!places.length) return;
    focused = Math.max(0, Math.min(places.length - 1, index));
    const scroll = table.parentElement, top = focused * ROW_HEIGHT, head = table.tHead.offsetHeight;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + ROW_HEIGHT + head > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + ROW_HEIGHT + head - scroll.clientHeight;
    draw(true);
    body.querySelector(`[data-index="${focused}"]`)?.focus({ preventScroll: true });
  }
  body.addEventListener("focusin", (event) => { const index = event.target.closest("tr")?.dataset.index; if (index) focused = Number(index); });
  body.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && event.target.matches("tr")) go(runHref(places[focused]));
    else if (event.key in steps) { event.preventDefault(); focus(Math.max(0, Math.min(places.length - 1, focused + steps[event.key]))); }
  });
  return {
    table(heads) {
      table = h("table", { class: "runs", "aria-label": "Runs" }, h("thead", {}, h("tr", {}, heads)), body);
      requestAnimationFrame(() => { table.parentElement.addEventListener("scroll", () => draw(false), { passive: true }); draw(true); });
      return table;
    },
    show(list) {
      places = list;
      focused = 0;
      table?.setAttribute("aria-rowcount", places.length + 1);
      if (table?.isConnected) { table.parentElement.scrollTop = 0; draw(true); }
    },
    focus: (index = 0) => focus(index),
  };
}

function searchField(title, placeholder, value, onSearch) {
  const input = h("input", { type: "search", class: "search", "aria-label": title, placeholder, value, "aria-keyshortcuts": "/", spellcheck: "false" });
  let timer = 0;
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => onSearch(input.value), 80); });
  return input;
}

/** A filter; it is not there where there is nothing to choose. */
function choice(title, options, value, onChange, all = "any") {
  if (options.length < 2 && !value) return null;
  const select = h("select", { "aria-label": title, class: value && all ? "set" : "" }, all && h("option", { value: "" }, all === "any" ? title : all),
    options.map(([each, words]) => h("option", { value: each, selected: each === value }, words)));
  select.addEventListener("change", () => { select.classList.toggle("set", Boolean(select.value && all)); onChange(select.value); });
  return select;
}

const chip = (words, onRemove) => h("button", { type: "button", class: "chip", onclick: onRemove, "aria-label": `Remove the filter ${words}` }, words, h("span", { "aria-hidden": "true" }, " ✕"));

function optionsOf(column, name) {
  const counts = new Map();
  for (const place of column) if (place != null && place >= 0) counts.set(place, (counts.get(place) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 100).map(([place, found]) => {
    const value = text(place);
    const shown = name === "status" ? STATUS_WORDS[value] || value : name === "version" ? value.slice(0, 12) : value;
    return [value, `${label(shown).slice(0, 60)} (${count(found)})`];
  });
}
