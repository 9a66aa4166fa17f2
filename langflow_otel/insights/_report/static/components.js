// Components by their share of time, with the Pareto line; and the critical paths of many runs together.

/** The components of a flow; shares are of what is shown. */
function componentsOf(flow) {
  const list = data.components, found = [];
  for (let place = 0; place < list.name.length; place += 1) {
    if (flow && text(list.flow[place]) !== flow) continue;
    found.push({
      flow: text(list.flow[place]), id: text(list.component_id[place]), name: text(list.name[place]), kind: text(list.kind[place]), count: list.count[place], runs: list.runs[place], errors: list.errors[place],
      cached: list.cached[place], skipped: list.skipped[place], p50: list.p50_s[place], p95: list.p95_s[place], p99: list.p99_s[place], total: list.total_s[place],
    });
  }
  const whole = found.reduce((sum, each) => sum + each.total, 0);
  let reached = 0;
  for (const each of found.sort((a, b) => b.total - a.total)) {
    each.share = whole ? each.total / whole : 0;
    each.few = each.total > 0 && reached < 0.8 * whole;
    reached += each.total;
    each.reached = whole ? reached / whole : 0;
  }
  return found;
}

const seconds = (value) => (value == null ? "–" : duration(value * 1000));

function componentsView(main, { flow, parameters }) {
  const list = componentsOf(flow);
  main.append(h("h1", {}, "Components"));
  if (!list.length) { main.append(empty("No component is in these traces.")); return; }
  const few = list.filter((each) => each.few), query = (parameters.get("q") || "").toLowerCase();
  main.append(h("p", { class: "lead" }, `${count(few.length)} of ${plural(list.length, "component")} (${percent(few.length / list.length)}) ${few.length === 1 ? "takes" : "take"} 80 % of the time: `,
    few.slice(0, 6).map((each, place) => [place > 0 && ", ", h("b", {}, label(each.name))]), few.length > 6 ? " …" : "."), section("Share of total time", pareto(list)));
  const box = h("div");
  const draw = (value) => box.replaceChildren(componentTable(list.filter((each) => `${each.name} ${each.flow} ${each.id} ${each.kind}`.toLowerCase().includes(value.toLowerCase())), flow));
  main.append(section("All components", h("div", { class: "toolbar" }, searchField("Search components", "name, flow, kind …", query, (value) => { remember({ q: value }); draw(value); })), box,
    note(`${data.source === "metrics" ? "The time of a component includes that of the components inside of it (the body of a loop, another flow)." : "The time is a component's own: what runs inside of it (the body of a loop, another flow, another component) is counted there."} Executions that were answered from the cache count no time. P50, P95 and P99: half, 95 % and 99 % of the executions took at most that long.`)));
  draw(query);
}

/** A name that leads to where it is in the flame graph. */
const inFlames = (name, flow) => (has("flames") ? h("a", { href: href("flame", { flow, q: name }), title: "Show it in the flame graph" }, label(name)) : label(name));

function componentTable(list, flow) {
  return sortedTable({ caption: "Components", rows: list, sort: "total", columns: [
    { name: "name", title: "Component", wide: true, value: (row) => row.name, cell: (row) => h("span", { class: "with-small" }, kindMark(row.kind === "agent" ? "agent" : "component"), inFlames(row.name, flow || row.flow), row.kind && h("small", {}, label(row.kind, "").replace(/_/g, " "))) },
    !flow && { name: "flow", title: "Flow", value: (row) => row.flow, cell: (row) => h("a", { href: href("components", { flow: row.flow }) }, label(row.flow)) },
    { name: "total", title: "Share of time", number: true, value: (row) => row.total, cell: (row) => [shareBar(row.share, row.few ? "" : "faint"), figure(percent(row.share))] },
    { name: "sum", title: "Total", number: true, value: (row) => row.total, cell: (row) => seconds(row.total) },
    { name: "reached", title: "Cumulative", number: true, value: (row) => row.reached, cell: (row) => percent(row.reached) },
    { name: "count", title: "Executions", number: true, value: (row) => row.count, cell: (row) => [h("small", {}, [row.cached ? `${count(row.cached)} cached ` : "", row.skipped ? `${count(row.skipped)} skipped ` : ""].join("")), count(row.count)] },
    { name: "errors", title: "Failed", number: true, value: (row) => (row.count ? row.errors / row.count : 0), cell: (row) => h("span", { class: row.errors ? "bad-word" : "", title: count(row.errors) }, percent(row.count ? row.errors / row.count : 0)) },
    ...["p50", "p95", "p99"].map((name) => ({ name, title: name.toUpperCase(), number: true, value: (row) => row[name], cell: (row) => seconds(row[name]) })),
  ].filter(Boolean) });
}

/** Bars by share, and over them what they reach together; the line at 80 %. */
function pareto(list) {
  const shown = list.filter((each) => each.total > 0).slice(0, 24), width = 1000, height = 200, step = width / Math.max(shown.length, 6), y = (part) => height - part * height;
  const line = shown.map((each, place) => `${place ? "L" : "M"}${(place + 0.5) * step},${y(each.reached)}`).join("");
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: "pareto-picture", role: "img", "aria-label": `Share of time of ${shown.length} components, and their sum` },
    svg("line", { x1: 0, x2: width, y1: y(0.8), y2: y(0.8), class: "eighty", "vector-effect": "non-scaling-stroke" }),
    shown.map((each, place) => svg("rect", { x: place * step + step * 0.12, width: step * 0.76, y: y(each.share), height: Math.max(each.share * height, 0.5), class: each.few ? "few" : "many" }, svg("title", {}, `${label(each.name)}: ${percent(each.share)}, together ${percent(each.reached)}`))),
    svg("path", { d: line, class: "reached", "vector-effect": "non-scaling-stroke" }));
  return h("div", { class: "pareto" }, h("div", { class: "pareto-scale", "aria-hidden": "true" }, [1, 0.8, 0.6, 0.4, 0.2, 0].map((part) => h("span", { style: { top: `${(1 - part) * 100}%` } }, percent(part)))),
    h("div", { class: "pareto-plot" }, picture, h("div", { class: "pareto-names", "aria-hidden": "true" }, shown.map((each) => h("span", { style: { width: `${100 / Math.max(shown.length, 6)}%` }, title: label(each.name) }, label(each.name))))));
}

function criticalView(main, { flow }) {
  const paths = data.critical.find((each) => text(each.flow) === (flow || ""));
  main.append(h("h1", {}, "Critical path"));
  if (!paths || !paths.shares.name.length) { main.append(empty(flow ? "There are no critical paths of this flow in the report." : "No run is in these traces.")); return; }
  main.append(h("p", { class: "lead" }, "What the runs waited for. A run becomes faster only if something on its critical path does; what goes on beside the path costs no time."), note(
    `The critical paths of ${paths.runs < paths.runs_selected ? `the newest ${count(paths.runs)} of ` : ""}${plural(paths.runs_selected, "run")}, added up (by the method of Uber's CRISP). The share says how much less time the runs would take, at most, if that span took none.`));
  const rows = paths.shares.name.map((name, place) => ({ name: text(name), component: text(paths.shares.component[place]), runs: paths.shares.runs[place], total: paths.shares.total_s[place], share: paths.shares.share[place] }));
  main.append(section("", sortedTable({ caption: "Critical paths", rows, sort: "total", limit: 60, columns: [
    { name: "name", title: "Span", wide: true, value: (row) => row.name, cell: (row) => inFlames(row.name, flow) },
    { name: "component", title: "In component", value: (row) => row.component, cell: (row) => label(row.component, "–") },
    { name: "total", title: "Share of the path", number: true, value: (row) => row.total, cell: (row) => [shareBar(row.share, "path-share"), figure(percent(row.share))] },
    { name: "sum", title: "Total", number: true, value: (row) => row.total, cell: (row) => seconds(row.total) },
    { name: "mean", title: "In a run", number: true, value: (row) => row.total / row.runs, cell: (row) => seconds(row.total / row.runs) },
    { name: "runs", title: "In runs", number: true, value: (row) => row.runs, cell: (row) => `${count(row.runs)} (${percent(row.runs / paths.runs)})` },
  ] })));
}
