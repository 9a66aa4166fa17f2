// Errors, models, sessions, and what is in the data and what is not.

function errorsOf(flow) {
  const list = data.errors;
  return list.name.map((name, place) => ({
    type: text(list.error_type[place]), category: text(list.category[place]), flow: text(list.flow[place]), component: text(list.component[place]), name: text(name), count: list.count[place], runs: list.runs[place],
    failed: list.failed_runs[place], first: list.first_ms[place], last: list.last_ms[place], trace: list.sample_trace_id[place], span: list.sample_span_id[place], message: text(list.message[place]), http: text(list.http_status[place]),
  })).filter((each) => !flow || each.flow === flow);
}

/** A sample of the error in its run; metrics have none. */
function errorHref(each) {
  if (!each.trace) return null;
  const place = placeOfRun(each.trace);
  return place >= 0 ? runHref(place, each.span) : href("run", { span: each.span }, each.trace);
}

function errorsView(main, { flow }) {
  const list = errorsOf(flow);
  main.append(h("h1", {}, "Errors"));
  if (!list.length) { main.append(empty("Nothing failed in these traces.")); return; }
  const total = flowFigures(flow)?.runs || 1;
  main.append(h("p", { class: "lead" }, `${plural(list.reduce((sum, each) => sum + each.count, 0), "error")} of ${plural(list.length, "kind")}, by type and by the place where they arose.${list.some(errorHref) ? " A click shows one of them in its run." : ""}`));
  const known = (name) => list.some((row) => row[name] != null);
  main.append(section("", sortedTable({ caption: "Errors", rows: list, sort: "count", onOpen: list.some(errorHref) && ((row) => { if (errorHref(row)) go(errorHref(row)); }), columns: [
    { name: "type", title: "Error", wide: true, value: (row) => row.type, cell: (row) => h("div", { class: "error-cell" }, h(errorHref(row) ? "a" : "span", { href: errorHref(row) }, label(row.type, "error without a type")), row.http && h("span", { class: "mark" }, `HTTP ${label(row.http)}`), row.message && h("p", {}, label(row.message))) },
    list.some((row) => row.category) && { name: "category", title: "Category", value: (row) => row.category, cell: (row) => row.category && h("span", { class: "mark" }, label(row.category).replace(/_/g, " ")) },
    { name: "place", title: "Where", value: (row) => row.component || row.name, cell: (row) => h("span", { class: "with-small" }, label(row.component || row.name), h("small", {}, row.component && row.name !== `component ${row.component}` ? label(row.name) : "")) },
    !flow && { name: "flow", title: "Flow", value: (row) => row.flow, cell: (row) => label(row.flow, "–") },
    { name: "count", title: "Times", number: true, value: (row) => row.count, cell: (row) => [shareBar(row.count / list[0].count, "bad"), figure(count(row.count))] },
    known("failed") && { name: "runs", title: "Failed runs", number: true, value: (row) => row.failed, cell: (row) => `${count(row.failed)} (${percent(row.failed / total)})` },
    known("first") && { name: "first", title: "First", number: true, value: (row) => row.first, cell: (row) => when(row.first, { seconds: false }) },
    known("last") && { name: "last", title: "Last", number: true, value: (row) => row.last, cell: (row) => when(row.last, { seconds: false }) },
  ].filter(Boolean) })));
}

function modelsView(main, { flow }) {
  const found = data.models.find((each) => text(each.flow) === (flow || ""));
  main.append(h("h1", {}, "Models"));
  const list = found?.uses;
  if (!list || !list.model.length) { main.append(empty("No model call is in these traces.")); return; }
  const rows = list.model.map((model, place) => ({ model: text(model), provider: text(list.provider[place]), costs: list.cost[place], ...Object.fromEntries(["calls", "runs", "errors", "retries", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "calls_without_tokens", "p50_s", "p95_s", "first_chunk_p50_s"].map((name) => [name, list[name][place]])) }));
  const figures = flowFigures(flow), over = figures.over, x = binTimes();
  main.append(h("p", { class: "lead" }, `${plural(rows.reduce((sum, row) => sum + row.calls, 0), "call")} of ${plural(rows.length, "model")}, ${compact(figures.input)} tokens in and ${compact(figures.output)} out${figures.costs.length ? `, ${costs(figures.costs)}` : ""}.`));
  if (over) main.append(h("h2", { class: "visually-hidden" }, "Over time"), h("div", { class: "charts" }, overviewCharts(over, flow).filter((chart) => /Tokens|Cost/.test(chart.getAttribute("aria-label")))));
  const tokens = (name, title) => ({ name, title, number: true, value: (row) => row[name], cell: (row) => compact(row[name]) });
  main.append(section("", sortedTable({ caption: "Models", rows, sort: "calls", columns: [
    { name: "model", title: "Model", wide: true, value: (row) => row.model, cell: (row) => h("span", { class: "with-small" }, kindMark("model"), label(row.model), h("small", {}, label(row.provider, ""))) },
    { name: "calls", title: "Calls", number: true, value: (row) => row.calls, cell: (row) => h("span", { title: row.calls_without_tokens ? `${count(row.calls_without_tokens)} of them without tokens` : null }, count(row.calls)) },
    { name: "errors", title: "Failed", number: true, value: (row) => row.errors / row.calls, cell: (row) => h("span", { class: row.errors ? "bad-word" : "", title: count(row.errors) }, percent(row.errors / row.calls)) },
    { name: "retries", title: "Retries", number: true, value: (row) => row.retries, cell: (row) => count(row.retries) },
    { name: "p50", title: "P50", number: true, value: (row) => row.p50_s, cell: (row) => seconds(row.p50_s) },
    { name: "p95", title: "P95", number: true, value: (row) => row.p95_s, cell: (row) => seconds(row.p95_s) },
    { name: "first", title: "First chunk", help: "Median time to the first chunk of a streamed answer", number: true, value: (row) => row.first_chunk_p50_s, cell: (row) => seconds(row.first_chunk_p50_s) },
    ...[["input_tokens", "Input"], ["cached_tokens", "Cached"], ["output_tokens", "Output"], ["reasoning_tokens", "Reasoning"]].filter(([name]) => rows.some((row) => row[name] != null)).map(([name, title]) => tokens(name, title)),
    { name: "cost", title: "Cost", number: true, value: (row) => row.costs[0]?.[1], cell: (row) => costs(row.costs) },
  ] })));
}

function sessionsView(main, { flow, parameters }) {
  const asked = parameters.get("session");
  if (asked) { sessionView(main, asked, flow); return; }
  const list = data.sessions;
  main.append(h("h1", {}, "Sessions"));
  const rows = list.session_id.map((id, place) => ({ id: text(id), user: text(list.user_id[place]), flows: list.flows[place].map(text), costs: list.cost[place], ...Object.fromEntries(["runs", "errors", "first_ms", "last_ms", "total_s", "input_tokens", "output_tokens"].map((name) => [name, list[name][place]])) })).filter((row) => !flow || row.flows.includes(flow));
  if (!rows.length) { main.append(empty("No run in these traces says to which session it belongs.")); return; }
  main.append(h("p", { class: "lead" }, `${plural(rows.length, "conversation")}${rows.length >= data.most_sessions ? ", the newest" : ""}. The median has ${plural(rows.map((row) => row.runs).sort((a, b) => a - b)[Math.floor(rows.length / 2)], "run")}.`));
  const box = h("div");
  const draw = (value) => box.replaceChildren(sortedTable({ caption: "Sessions", rows: rows.filter((row) => `${row.id} ${row.user} ${row.flows.join(" ")}`.toLowerCase().includes(value.toLowerCase())), sort: "last", onOpen: (row) => go(href("sessions", { session: row.id, flow })), columns: [
    { name: "id", title: "Session", wide: true, value: (row) => row.id, cell: (row) => h("a", { href: href("sessions", { session: row.id, flow }) }, label(row.id)) },
    { name: "user", title: "User", value: (row) => row.user, cell: (row) => label(row.user, "–") },
    { name: "flows", title: "Flows", value: (row) => row.flows[0], cell: (row) => row.flows.map((each) => label(each)).join(", ") },
    { name: "runs", title: "Runs", number: true, value: (row) => row.runs, cell: (row) => count(row.runs) },
    { name: "errors", title: "Failed", number: true, value: (row) => row.errors, cell: (row) => h("span", { class: row.errors ? "bad-word" : "" }, count(row.errors)) },
    { name: "total", title: "Time in runs", number: true, value: (row) => row.total_s, cell: (row) => seconds(row.total_s) },
    { name: "tokens", title: "Tokens", number: true, value: (row) => (row.input_tokens == null ? null : row.input_tokens + (row.output_tokens || 0)), cell: (row) => compact(row.input_tokens == null ? null : row.input_tokens + (row.output_tokens || 0)) },
    { name: "cost", title: "Cost", number: true, value: (row) => row.costs[0]?.[1], cell: (row) => costs(row.costs) },
    { name: "last", title: "Last", number: true, value: (row) => row.last_ms, cell: (row) => when(row.last_ms, { seconds: false }) },
  ] }));
  main.append(section("", h("div", { class: "toolbar" }, searchField("Search sessions", "session, user, flow …", parameters.get("q") || "", (value) => { remember({ q: value }); draw(value); })), box));
  draw(parameters.get("q") || "");
}

/** One conversation: its runs in the order of time, and what was said where that was recorded. */
function sessionView(main, id, flow) {
  const places = placesOf(flow).filter((place) => text(runs.session[place]) === id).reverse();
  main.append(h("nav", { class: "crumbs", "aria-label": "Way back" }, h("a", { href: href("sessions", { flow }) }, "Sessions")), h("h1", {}, label(id)));
  if (!places.length) { main.append(empty("This report lists no run of this session.")); return; }
  const longest = Math.max(...places.map((place) => runs.duration[place])), failed = places.filter((place) => text(runs.status[place]) === "error").length;
  main.append(h("p", { class: "lead" }, `${plural(places.length, "run")}${failed ? `, ${count(failed)} failed` : ""}, from ${when(runs.start[places[0]])} to ${when(runs.start[places.at(-1)])}.`));
  main.append(section("", h("ol", { class: "conversation" }, places.map((place, index) => h("li", {},
    index > 0 && h("span", { class: "pause" }, `${duration(Math.max(0, runs.start[place] - runs.start[places[index - 1]] - runs.duration[places[index - 1]] / 1000))} later`),
    h("a", { class: "turn", href: runHref(place) }, statusMark(text(runs.status[place])), h("b", {}, label(text(runs.flow[place]))), shareBar(runs.duration[place] / longest, text(runs.status[place]) === "error" ? "bad" : ""), h("span", { class: "number" }, duration(runs.duration[place] / 1000)),
      h("small", {}, [when(runs.start[place]), tokensOf(place) != null && `${compact(tokensOf(place))} tokens`, runs.cost[place] != null && money(runs.cost[place], text(runs.currency[place])), text(runs.error[place])].filter(Boolean).map((each) => label(each)).join(" · "))),
    saidIn(runs.trace[place]))))));
}

/** The first question and the last answer of a run whose spans are here, where they were recorded. */
function saidIn(traceId) {
  const trace = traceOf(traceId);
  if (!trace) return null;
  const found = (name, last) => {
    const order = trace.spans.id.map((id, index) => index);
    // What the run itself got and gave, else what its models did.
    for (const index of last ? [trace.root, ...order.reverse()] : [trace.root, ...order]) {
      const value = attributesOf(trace, index).get(name);
      if (value) { try { const parts = JSON.parse(value); const part = (last ? parts.at(-1) : parts.findLast((each) => each.role === "user"))?.parts?.[0]; if (typeof part?.content === "string") return part.content; } catch { /* cut */ } }
    }
    return null;
  };
  const question = found("gen_ai.input.messages", false), answer = found("gen_ai.output.messages", true);
  return (question || answer) && h("div", { class: "messages" }, question && h("div", { class: "message role-user" }, h("p", {}, visible(question))), answer && h("div", { class: "message role-assistant" }, h("p", {}, visible(answer))));
}

function dataView(main) {
  const { reading, made, missing, details } = data;
  main.append(h("h1", {}, "About the data"), h("p", { class: "lead" }, `Made by langflow-otel ${made.version} at ${when(made.at_ms, { year: true })}${made.selection ? ` from ${label(made.selection)}` : ""}.`));
  main.append(section("What is not in it", missing.length ? h("ul", { class: "missing" }, missing.map(([what, why]) => h("li", {}, h("b", {}, visible(what)), " ", visible(why)))) : note("Nothing that this report knows how to show is missing.")));
  main.append(section("What was read", factList(reading.map(([name, value]) => [name, typeof value === "number" ? count(value) : visible(value)]))));
  if (has("details")) main.append(section("What is in this file", factList([["Runs", count(data.overview.all?.runs ?? 0)], ["Runs in the list", count(data.listed)], ["Runs with all their spans", count(details.traces.length)], ["Spans in the file", count(details.spans)]]),
    note("Figures over time count all runs that were read; so do components, errors, models and sessions, unless it is said above which runs they are about. The waterfall of a run needs all of its spans, and those of every run would make this file too large: it has the spans of the slowest, the failed and the newest runs, of one run for each kind of error, and of some runs of each flow. In the terminal, langflow-otel tree TRACE_ID shows any other run.")));
}
