// The first page: how many, how fast, how dear; where to look next.

const flowFigures = (flow) => (flow ? data.overview.flows.find((each) => text(each.flow) === flow) : data.overview.all);
const placesOf = (flow) => {
  const places = [];
  for (let place = 0; place < runCount; place += 1) if (!flow || text(runs.flow[place]) === flow) places.push(place);
  return places;
};

function tile(title, value, detail, spark, color, target) {
  const inside = [h("span", { class: "tile-title" }, title), h("span", { class: "tile-value" }, value),
    h("span", { class: "tile-detail" }, detail || "\u00a0"), spark && sparkline(spark, color, 120, 26)];
  return target ? h("a", { class: "tile", href: target }, inside) : h("div", { class: "tile" }, inside);
}

function overviewView(main, { flow }) {
  const figures = flowFigures(flow);
  const over = figures.over;
  const [p50, p95, p99] = figures.percentiles;
  const tokens = figures.input + figures.output, slowest = has("runs") && href("runs", { flow, sort: "duration" });
  main.append(h("h1", {}, flow ? label(flow) : "All flows"), h("p", { class: "lead" }, headline(figures)));
  main.append(h("div", { class: "tiles" },
    tile("Runs", compact(figures.runs), `${perHour(figures.runs)}`, over?.runs, "--accent", has("runs") && href("runs", { flow })),
    tile("Failed", percent(figures.errors / figures.runs), `${count(figures.errors)} of ${count(figures.runs)}`, over?.errors, "--bad", has("errors") && href("errors", { flow })),
    tile("P50 (median)", duration(p50), "half are faster", over?.p50, "--p50", slowest),
    tile("P95", duration(p95), figures.runs < 20 ? "of few runs" : "5 % are slower", over?.p95, "--p95", slowest),
    tile("P99", duration(p99), figures.runs < 100 ? "of few runs" : "1 % is slower", over?.p99, "--p99", slowest),
    tokens > 0 && tile("Tokens", compact(tokens), `${compact(figures.input)} in, ${compact(figures.output)} out`, over && over.input.map((value, place) => value + over.output[place]), "--model", has("models") && href("models", { flow })),
    figures.costs.length > 0 && tile("Cost", [costs([[-1, figures.costs[0][1]]]), h("small", {}, ` ${label(text(figures.costs[0][0]))}`)], figures.costs.length > 1 ? costs(figures.costs) : costPerRun(figures), over?.costs[0]?.[1], "--model", has("models") && href("models", { flow }))));
  if (has("runs")) main.append(section("Every run",
    h("p", { class: "hint" }, "Each dot is a run: when it started, and how long it took (on a logarithmic scale). ", h("span", { class: "bad-word" }, "Red ones failed"), ". Click one to open it, drag to zoom, double-click to zoom out."),
    runDots(placesOf(flow))));
  main.append(h("div", { class: "columns" }, has("components") && whereTimeGoes(flow), has("errors") && whatFailed(flow)));
  if (!flow && data.overview.flows.length > 1) main.append(flowsTable());
  if (over) main.append(h("h2", { class: "visually-hidden" }, "Over time"), h("div", { class: "charts" }, overviewCharts(over, flow)));
  if (!flow && data.workers?.instance.length) main.append(workersTable(data.workers));
}

function headline({ runs: all, errors, percentiles: [p50, p95], cancelled }) {
  return `${outcome(all, errors, cancelled)}.${p50 == null ? "" : ` ${usualDuration(all, p50, p95)}.`}`;
}

function outcome(all, errors, cancelled) {
  if (all === 1) return `The run ${errors ? "failed" : cancelled ? "was cancelled" : "succeeded"}`;
  const left = cancelled ? `, ${count(cancelled)} ${cancelled === 1 ? "was" : "were"} cancelled` : "";
  if (errors) return `${errors === all ? `All ${count(all)} runs` : `${count(errors)} of ${count(all)} runs`} failed${errors === all ? "" : ` (${percent(errors / all)})`}${left}`;
  return cancelled ? `None of ${count(all)} runs failed${left}` : `All ${count(all)} runs succeeded`;
}

function usualDuration(all, p50, p95) {
  if (all === 1) return `It took ${duration(p50)}`;
  return `Half of them took less than ${duration(p50)}${all < 20 ? "" : `, one in twenty more than ${duration(p95)}`}`;
}

function perHour(all) {
  const hours = (data.overview.last_ms - data.overview.first_ms) / 3600000;
  return hours >= 1 ? `${compact(all / hours)} an hour` : "";
}

const costPerRun = ({ costs: pairs, runs: all }) => `${costs(pairs.map(([currency, amount]) => [currency, amount / all]))} a run`;

function binTimes() {
  const { start_s: start, width_s: width, bins } = data.overview;
  return Array.from({ length: bins }, (_, place) => start + (place + 0.5) * width);
}

function overviewCharts(over, flow) {
  const x = binTimes();
  const ok = over.runs.map((value, place) => value - over.errors[place] - over.cancelled[place]);
  const toCancelled = ok.map((value, place) => value + over.cancelled[place]);
  const each = `each ${widthWords(data.overview.width_s)}`, open = has("runs") && ((place) => runsOfBin(place, flow));
  const charts = [
    timeChart({ title: "Runs", hint: open ? `${each}; a click lists them` : each, x, format: compact, open, series: [
      // Drawn over each other: the tallest first.
      { name: "failed", values: over.runs, shown: over.errors, color: "--bad", bars: true },
      { name: "cancelled", values: toCancelled, shown: over.cancelled, color: "--warn-bar", bars: true },
      { name: "ok", values: ok, color: "--good-bar", bars: true },
    ] }),
    timeChart({ title: "Duration", hint: "of a run", x, format: duration, open, series: [
      { name: "P99", values: over.p99, color: "--p99" }, { name: "P95", values: over.p95, color: "--p95" }, { name: "P50", values: over.p50, color: "--p50" },
    ] }),
  ];
  if (over.input.some(Boolean)) charts.push(timeChart({ title: "Tokens", hint: each, x, format: compact, open, series: [
    { name: "output", values: over.input.map((value, place) => value + over.output[place]), shown: over.output, color: "--model-2", bars: true },
    { name: "input", values: over.input, color: "--model", bars: true },
  ] }));
  for (const [currency, values] of over.costs) charts.push(timeChart({ title: `Cost, ${label(text(currency))}`, hint: each, x, format: (value) => money(value, ""), open, series: [
    { name: "cost", values, color: "--model", bars: true },
  ] }));
  for (const curve of data.resources ?? []) charts.push(resourceChart(curve, x, flow));
  return charts;
}

/** The runs that started in this part of the time. */
function runsOfBin(place, flow) {
  const { start_s: start, width_s: width } = data.overview;
  go(href("runs", { flow, from: (start + place * width) * 1000, to: (start + (place + 1) * width) * 1000 - 1 }));
}

const widthWords = (seconds) => {
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const [size, word] = units.find(([each]) => seconds >= each);
  return seconds === size ? word : `${seconds / size} ${word}s`;
};

const UNITS = { bytes, seconds: (value) => duration(value * 1000), share: percent, count: compact };

/** What the runs of each bin tell of their processes: the middle one and the highest. */
function resourceChart(curve, x, flow) {
  const { start_s: start, width_s: width, bins } = data.overview;
  const found = Array.from({ length: bins }, () => []);
  if (curve.over) return resourceLines(curve, x, curve.over.highest, curve.over.median, null);
  curve.values.forEach((value, place) => {
    if (value != null && (!flow || text(runs.flow[place]) === flow)) found[Math.floor((runs.start[place] / 1000 - start) / width)].push(value);
  });
  for (const values of found) values.sort((a, b) => a - b);
  return resourceLines(curve, x, found.map((values) => values.at(-1) ?? null), found.map((values) => values[Math.floor(values.length / 2)] ?? null), (place) => runsOfBin(place, flow));
}

const resourceLines = (curve, x, highest, median, open) => timeChart({ title: curve.title, hint: curve.hint, x, format: UNITS[curve.unit], open, series: [
  { name: "highest", values: highest, color: "--ink-3" }, { name: "median", values: median, color: "--tool" },
] });

function whereTimeGoes(flow) {
  const list = componentsOf(flow).filter((each) => each.share > 0).slice(0, 6);
  return section("Where the time goes",
    list.length ? h("ol", { class: "bars" }, list.map((each) => h("li", {},
      h("a", { href: href("components", { flow: flow || each.flow, q: each.name }) }, kindMark(each.kind === "agent" ? "agent" : "component"), h("span", { class: "words" }, label(each.name)), !flow && h("small", {}, label(each.flow))),
      shareBar(each.share), h("span", { class: "number" }, percent(each.share))))) : note("No component is in these traces."),
    h("a", { class: "onward", href: href("components", { flow }) }, "All components"));
}

function whatFailed(flow) {
  const list = errorsOf(flow).slice(0, 6);
  return section("What fails",
    list.length ? h("ol", { class: "bars" }, list.map((each) => h("li", {},
      h(errorHref(each) ? "a" : "span", { class: errorHref(each) ? null : "named", href: errorHref(each) }, h("span", { class: "words" }, label(each.type, "error without a type")), h("small", {}, label(each.component || each.name))),
      shareBar(each.count / list[0].count, "bad"), h("span", { class: "number" }, count(each.count))))) : note("Nothing failed."),
    list.length > 0 && h("a", { class: "onward", href: href("errors", { flow }) }, "All errors"));
}

/** The processes, which metrics know and traces do not. */
function workersTable(list) {
  const rows = list.instance.map((instance, place) => ({ instance: text(instance), worker: text(list.worker[place]), cpu: list.cpu_utilization[place], memory: list.memory_bytes[place] }));
  return section("Processes", sortedTable({ caption: "Processes", rows, sort: "memory", columns: [
    { name: "instance", title: "Process", wide: true, value: (row) => row.instance, cell: (row) => label(row.instance, "–") },
    { name: "worker", title: "Worker", value: (row) => row.worker, cell: (row) => label(row.worker, "–") },
    { name: "cpu", title: "CPU", number: true, value: (row) => row.cpu, cell: (row) => percent(row.cpu) },
    { name: "memory", title: "Memory", number: true, value: (row) => row.memory, cell: (row) => (row.memory == null ? "–" : bytes(row.memory)) },
  ] }));
}

function flowsTable() {
  return section("Flows", sortedTable({
    caption: "Flows", rows: data.overview.flows, sort: "runs",
    onOpen: (row) => go(href("overview", { flow: text(row.flow) })),
    columns: [
      { name: "flow", title: "Flow", wide: true, value: (row) => text(row.flow), cell: (row) => h("a", { href: href("overview", { flow: text(row.flow) }) }, label(text(row.flow))) },
      { name: "runs", title: "Runs", number: true, value: (row) => row.runs, cell: (row) => count(row.runs) },
      { title: "Over time", cell: (row) => row.over && sparkline(row.over.runs, "--accent", 110, 20) },
      { name: "failed", title: "Failed", number: true, value: (row) => row.errors / row.runs, cell: (row) => h("span", { class: row.errors ? "bad-word" : "" }, percent(row.errors / row.runs)) },
      ...["P50", "P95", "P99"].map((title, place) => ({ name: title, title, number: true, value: (row) => row.percentiles[place], cell: (row) => duration(row.percentiles[place]) })),
      { name: "tokens", title: "Tokens", number: true, value: (row) => row.input + row.output, cell: (row) => (row.input + row.output ? compact(row.input + row.output) : "–") },
      { name: "cost", title: "Cost", number: true, value: (row) => row.costs[0]?.[1], cell: (row) => costs(row.costs) },
    ],
  }));
}
