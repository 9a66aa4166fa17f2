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
  const tokens = figures.input + figures.output;
  main.append(h("h1", {}, flow ? label(flow) : "All flows"), h("p", { class: "lead" }, headline(figures)));
  main.append(h("div", { class: "tiles" },
    tile("Runs", compact(figures.runs), `${perHour(figures.runs)}`, over?.runs, "--accent", href("runs", { flow })),
    tile("Failed", percent(figures.errors / figures.runs), `${count(figures.errors)} of ${count(figures.runs)}`, over?.errors, "--bad", href("errors", { flow })),
    tile("P50", duration(p50), "half are faster", over?.p50, "--p50"),
    tile("P95", duration(p95), "5 % are slower", over?.p95, "--p95", href("runs", { flow, sort: "duration" })),
    tile("P99", duration(p99), "1 % is slower", over?.p99, "--p99", href("runs", { flow, sort: "duration" })),
    tokens > 0 && tile("Tokens", compact(tokens), `${compact(figures.input)} in, ${compact(figures.output)} out`, over && over.input.map((value, place) => value + over.output[place]), "--model", href("models", { flow })),
    figures.costs.length > 0 && tile("Cost", [costs([[-1, figures.costs[0][1]]]), h("small", {}, ` ${label(text(figures.costs[0][0]))}`)], figures.costs.length > 1 ? costs(figures.costs) : costPerRun(figures), over?.costs[0]?.[1], "--model", href("models", { flow }))));
  main.append(section("Every run",
    h("p", { class: "hint" }, `Each dot is a run: when it started and how long it took (logarithmic). `, h("span", { class: "bad-word" }, "Red ones failed"), ". Click one to open it, drag to zoom, double-click to go back."),
    runDots(placesOf(flow))));
  main.append(h("div", { class: "columns" }, whereTimeGoes(flow), whatFailed(flow)));
  if (over) main.append(h("div", { class: "charts" }, overviewCharts(over, flow)));
  if (!flow && data.overview.flows.length > 1) main.append(flowsTable());
}

function headline({ runs: all, errors, percentiles: [p50, p95], cancelled }) {
  const failed = errors ? `${count(errors)} of ${plural(all, "run")} failed (${percent(errors / all)})` : `${all === 1 ? "The run" : `All ${count(all)} runs`} succeeded`;
  const left = cancelled ? `, ${count(cancelled)} ${cancelled === 1 ? "was" : "were"} cancelled` : "";
  return `${failed}${left}. Half of them took less than ${duration(p50)}, one in twenty more than ${duration(p95)}.`;
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
  const each = `each ${widthWords(data.overview.width_s)}`;
  const charts = [
    timeChart({ title: "Runs", hint: each, x, format: compact, series: [
      // Drawn over each other: the tallest first.
      { name: "failed", values: over.runs, shown: over.errors, color: "--bad", bars: true },
      { name: "cancelled", values: toCancelled, shown: over.cancelled, color: "--warn", bars: true },
      { name: "ok", values: ok, color: "--good-bar", bars: true },
    ] }),
    timeChart({ title: "Duration", x, format: duration, series: [
      { name: "P99", values: over.p99, color: "--p99" }, { name: "P95", values: over.p95, color: "--p95" }, { name: "P50", values: over.p50, color: "--p50" },
    ] }),
  ];
  if (over.input.some(Boolean)) charts.push(timeChart({ title: "Tokens", hint: each, x, format: compact, series: [
    { name: "output", values: over.input.map((value, place) => value + over.output[place]), shown: over.output, color: "--model-2", bars: true },
    { name: "input", values: over.input, color: "--model", bars: true },
  ] }));
  for (const [currency, values] of over.costs) charts.push(timeChart({ title: `Cost, ${label(text(currency))}`, hint: each, x, format: (value) => money(value, ""), series: [
    { name: "cost", values, color: "--model", bars: true },
  ] }));
  for (const curve of data.resources) charts.push(resourceChart(curve, x, flow));
  return charts;
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
  curve.values.forEach((value, place) => {
    if (value != null && (!flow || text(runs.flow[place]) === flow)) found[Math.floor((runs.start[place] / 1000 - start) / width)].push(value);
  });
  for (const values of found) values.sort((a, b) => a - b);
  return timeChart({ title: curve.title, hint: "while runs went on", x, format: UNITS[curve.unit], series: [
    { name: "highest", values: found.map((values) => values.at(-1) ?? null), color: "--ink-3" },
    { name: "median", values: found.map((values) => values[Math.floor(values.length / 2)] ?? null), color: "--tool" },
  ] });
}

function whereTimeGoes(flow) {
  const list = componentsOf(flow).filter((each) => each.share > 0).slice(0, 6);
  return section("Where the time goes",
    list.length ? h("ol", { class: "bars" }, list.map((each) => h("li", {},
      h("a", { href: href("components", { flow: flow || each.flow, q: each.name }) }, kindMark(each.kind === "agent" ? "agent" : "component"), label(each.name), !flow && h("small", {}, label(each.flow))),
      shareBar(each.share), h("span", { class: "number" }, percent(each.share))))) : note("No component is in these traces."),
    h("a", { class: "onward", href: href("components", { flow }) }, "All components"));
}

function whatFailed(flow) {
  const list = errorsOf(flow).slice(0, 6);
  return section("What fails",
    list.length ? h("ol", { class: "bars" }, list.map((each) => h("li", {},
      h("a", { href: errorHref(each) }, label(each.type, "error without a type"), h("small", {}, label(each.component || each.name))),
      shareBar(each.count / list[0].count, "bad"), h("span", { class: "number" }, count(each.count))))) : note("Nothing failed."),
    h("a", { class: "onward", href: href("errors", { flow }) }, "All errors"));
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
