// One run: its spans over time, its critical path, and what each span says.

function placeOfRun(traceId, spanId) {
  for (let place = 0; place < runCount; place += 1) if (runs.trace[place] === traceId && (!spanId || runs.span[place] === spanId)) return place;
  return -1;
}

function runView(main, { path: [traceId, spanId], parameters }) {
  const place = placeOfRun(traceId, spanId);
  const trace = traceOf(traceId);
  if (place < 0 && !trace) { main.append(h("h1", {}, "Run"), empty("This report has no such run.")); return; }
  leftRun = place;
  main.append(runHeader(place, traceId, trace));
  if (!trace) {
    main.append(empty(`The spans of this run are not in the file: it has those of ${count(data.details.traces.length)} runs (the slowest, the failed ones, the newest, and a sample).`,
      h("p", {}, "To see them in the terminal:"), commandLine(`langflow-otel tree ${traceId}`)));
    return;
  }
  const state = waterfall(trace, parameters.get("span"));
  main.append(state.element, pathTable(trace, state));
  if (parameters.get("span")) requestAnimationFrame(() => state.element.querySelector(".chosen")?.scrollIntoView({ block: "nearest" }));
}

const commandLine = (command) => h("p", { class: "command" }, h("code", {}, command), copyButton(command, "the command"));

function runHeader(place, traceId, trace) {
  const spans = trace?.spans;
  const status = place >= 0 ? text(runs.status[place]) : trace.strings[spans.status[trace.root]];
  const name = place >= 0 ? text(runs.flow[place]) : trace.strings[spans.name[trace.root]];
  const [newer, older] = place >= 0 ? [place - 1, place + 1] : [-1, -1];
  const neighbour = (other, words, sign) => (other >= 0 && other < runCount ? h("a", { class: "button", href: runHref(other), title: words, "aria-label": words }, sign) : h("span", { class: "button off", "aria-hidden": "true" }, sign));
  const session = place >= 0 && text(runs.session[place]);
  const memory = place >= 0 && data.resources.map((curve) => [curve.title, curve.values[place] == null ? null : UNITS[curve.unit](curve.values[place])]);
  return h("header", { class: "run-header" },
    h("nav", { class: "crumbs", "aria-label": "Way back" }, h("a", { href: href("runs") }, "Runs"), h("span", { "aria-hidden": "true" }, "/"), h("code", {}, traceId.slice(0, 12)), copyButton(traceId, "the trace id"),
      place >= 0 && h("span", { class: "neighbours" }, neighbour(newer, "The next newer run", "←"), neighbour(older, "The next older run", "→"))),
    h("h1", {}, label(name), " ", statusMark(status)),
    factList([
      ["Duration", h("b", {}, duration((place >= 0 ? runs.duration[place] : spans.duration[trace.root]) / 1000))],
      ["Started", when(place >= 0 ? runs.start[place] : trace.start_ms, { year: true })],
      ["Faster than this", place >= 0 && rankOf(place)],
      ["Error", place >= 0 && text(runs.error[place]) && h("span", { class: "bad-word" }, label(text(runs.error[place])))],
      ["Tokens", place >= 0 && tokensOf(place) != null && `${compact(runs.input[place])} in, ${compact(runs.output[place])} out`],
      ["Cost", place >= 0 && runs.cost[place] != null && money(runs.cost[place], text(runs.currency[place]))],
      ["Session", session && h("a", { href: href("sessions", { session }) }, label(session))],
      ["User", place >= 0 && label(text(runs.user[place]), "")],
      ["Version", place >= 0 && text(runs.version[place]) && h("code", {}, label(text(runs.version[place])))],
      ["Entry point", place >= 0 && label(text(runs.entry[place]), "")],
      ["Process", place >= 0 && label(text(runs.instance[place]), "")],
      ["Runs at the same time", place >= 0 && runs.concurrent[place] > 1 ? count(runs.concurrent[place]) : null],
      ...(memory || []),
    ].map(([title, value]) => [title, value || null])));
}

/** How this run stands among those of its flow. */
function rankOf(place) {
  const same = placesOf(text(runs.flow[place]));
  if (same.length < 10) return null;
  return `${percent(same.filter((other) => runs.duration[other] < runs.duration[place]).length / same.length)} of the flow's runs`;
}

function childrenOf(trace) {
  const children = trace.spans.id.map(() => []), tops = [];
  trace.spans.parent.forEach((parent, index) => (parent >= 0 ? children[parent] : tops).push(index));
  return { children, tops };
}

function waterfall(trace, chosenId) {
  const spans = trace.spans, { children, tops } = childrenOf(trace);
  const from = Math.min(...spans.start), until = Math.max(...spans.start.map((start, index) => start + spans.duration[index]), from + 1);
  const closed = new Set();
  let window_ = [from, until], chosen = spans.id.indexOf(chosenId), rows = [], deepest = 0, query = "";
  const onPath = new Map();
  for (const [index, start, end] of trace.path) onPath.set(index, [...(onPath.get(index) || []), [start, end]]);
  const body = h("div", { class: "rows", role: "tree", "aria-label": "Spans of the run" });
  const ruler = h("div", { class: "ruler", "aria-hidden": "true" });
  const side = h("div", { class: "side" });
  const search = searchField("Search spans", "search in this run …", "", (value) => { query = value.toLowerCase(); draw(); });
  const reset = h("button", { type: "button", class: "button", hidden: true, onclick: () => zoom(from, until) }, "Whole run (Esc)");
  const map = minimap(trace, [from, until], (start, end) => zoom(start, end));
  const element = h("div", { class: "run-grid" }, h("section", { class: "panel waterfall" },
    h("div", { class: "toolbar" }, h("h2", {}, "Spans"), search, reset,
      h("button", { type: "button", class: "button", onclick: () => { if (closed.size) closed.clear(); else for (let index = 0; index < spans.id.length; index += 1) if (children[index].length && !tops.includes(index)) closed.add(index); draw(); } }, "Fold / unfold"),
      legendOf(trace)), map.element, h("div", { class: "row head" }, h("span", {}, "Span"), ruler), body,
    trace.left_out > 0 && note(`${plural(trace.left_out, "span")} of this trace ${trace.left_out === 1 ? "is" : "are"} not shown: the page has the longest and those around them. langflow-otel tree ${trace.id} shows all.`)), side);

  const matches = (index) => !query || trace.strings[spans.name[index]].toLowerCase().includes(query) || spans.attributes[index].some((place) => trace.strings[place]?.toLowerCase().includes(query));
  function visit(index, depth) {
    rows.push([index, depth]);
    if (!closed.has(index)) for (const child of children[index]) visit(child, depth + 1);
  }
  function draw() {
    rows = [];
    for (const top of tops) visit(top, 0);
    deepest = Math.max(...rows.map(([, depth]) => depth));
    body.replaceChildren(...rows.map(([index, depth]) => rowOf(index, depth)));
    ruler.replaceChildren(...ticks(window_, from).map(([at, words]) => h("span", { style: { left: `${at * 100}%` } }, words)));
    reset.hidden = window_[0] === from && window_[1] === until;
    map.show(window_);
  }
  const across = (at) => `${((at - window_[0]) / (window_[1] - window_[0])) * 100}%`;
  const wide = (length) => `${(length / (window_[1] - window_[0])) * 100}%`;
  function rowOf(index, depth) {
    const what = trace.strings[spans.what[index]], status = trace.strings[spans.status[index]], name = trace.strings[spans.name[index]];
    const hasChildren = children[index].length > 0, start = spans.start[index], length = spans.duration[index], signs = marks(index, status);
    const row = h("div", {
      class: `row${index === chosen ? " chosen" : ""}${status === "error" ? " failed" : ""}${query && !matches(index) ? " dim" : ""}`, role: "treeitem", "aria-level": depth + 1,
      tabindex: index === (chosen >= 0 ? chosen : rows[0][0]) ? "0" : "-1", "data-index": index, "aria-selected": index === chosen ? "true" : "false", "aria-expanded": hasChildren ? String(!closed.has(index)) : null,
      "aria-label": `${[label(shortName(name, what)), ...signs.map((sign) => sign.textContent), duration(length / 1000)].join(" ")}, ${KIND_WORDS[what] || what}, ${STATUS_WORDS[status] || label(status)}${retriesOf(index) ? `, ${plural(retriesOf(index), "retry", "retries")}` : ""}`,
    },
    h("span", { class: "name", style: { "padding-left": `calc(${depth} * min(14px, ${50 / Math.max(deepest, 1)}%))` } },
      hasChildren ? h("button", { type: "button", class: "fold", tabindex: "-1", "aria-hidden": "true", onclick: (event) => { event.stopPropagation(); fold(index); } }, closed.has(index) ? "▸" : "▾") : h("span", { class: "fold" }),
      kindMark(what), h("span", { class: "words" }, label(shortName(name, what))), signs.flatMap((sign) => [" ", sign])),
    h("span", { class: "track" },
      h("span", { class: `bar kind-${kindOf(what)}${status === "error" ? " failed" : ""}`, style: { left: across(start), width: wide(length) } }),
      (onPath.get(index) || []).map(([a, b]) => h("span", { class: "path", style: { left: across(a), width: wide(b - a) } })),
      eventsOf(trace, index).map((event) => h("span", { class: `event${event.name === "exception" ? " bad" : ""}`, style: { left: across(event.at) }, title: `${label(event.name)} at ${duration(event.at / 1000)}` })),
      " ", lengthOf(start, length)));
    row.addEventListener("click", () => choose(index));
    return row;
  }
  /** Behind the bar, before it, or in it: wherever there is room. */
  function lengthOf(start, length) {
    const place = (at) => ((at - window_[0]) / (window_[1] - window_[0])) * 100, ending = place(start + length), beginning = place(start);
    if (ending < 86) return h("span", { class: "length", style: { left: `calc(${Math.max(0, ending)}% + 6px)` } }, duration(length / 1000));
    if (beginning > 14) return h("span", { class: "length", style: { right: `calc(${100 - beginning}% + 6px)` } }, duration(length / 1000));
    return h("span", { class: "length inside", style: { right: `calc(${Math.max(0, 100 - ending)}% + 12px)` } }, duration(length / 1000));
  }
  const retriesOf = (index) => Number(attributesOf(trace, index).get("langflow.model.retries") || 0) + eventsOf(trace, index).filter((event) => event.name === "component.retry").length;
  function marks(index, status) {
    const found = attributesOf(trace, index), retries = retriesOf(index);
    return [
      status === "error" && !children[index].some((child) => trace.strings[spans.status[child]] === "error") && h("span", { class: "mark bad" }, label(found.get("error.type") || "failed")), status === "cached" && h("span", { class: "mark" }, "cached"), status === "cancelled" && h("span", { class: "mark" }, "cancelled"),
      retries > 0 && h("span", { class: "mark warn", title: plural(retries, "retry", "retries") }, `↻ ${count(retries)}`), found.has("langflow.loop.index") && h("span", { class: "mark" }, `#${label(found.get("langflow.loop.index"))}`),
    ].filter(Boolean);
  }
  function choose(index, focus = true) {
    chosen = index;
    remember({ span: index < 0 ? "" : spans.id[index] });
    side.replaceChildren(...(index < 0 ? [] : [spanDetails(trace, index, () => { const was = chosen; choose(-1, false); focusRow(was); })]));
    element.classList.toggle("with-side", index >= 0);
    for (const row of body.children) {
      const isIt = Number(row.dataset.index) === index;
      row.classList.toggle("chosen", isIt);
      row.setAttribute("aria-selected", String(isIt));
    }
    if (index >= 0 && focus) focusRow(index);
  }
  function focusRow(index) {
    for (const row of body.children) row.tabIndex = Number(row.dataset.index) === index ? 0 : -1;
    body.querySelector(`[data-index="${index}"]`)?.focus();
  }
  function fold(index) {
    if (closed.has(index)) closed.delete(index);
    else if (children[index].length) closed.add(index);
    draw();
    focusRow(index);
  }
  function zoom(start, end) {
    window_ = [Math.max(from, start), Math.min(until, end)];
    if (window_[1] - window_[0] < 1) window_ = [from, until];
    draw();
  }
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    const index = Number(row.dataset.index), at = rows.findIndex(([each]) => each === index);
    const to = (next) => { if (next != null) { if (chosen >= 0) choose(next); else focusRow(next); } };
    const keys = {
      ArrowDown: () => to(rows[at + 1]?.[0]), ArrowUp: () => to(rows[at - 1]?.[0]), Home: () => to(rows[0][0]), End: () => to(rows.at(-1)[0]),
      ArrowRight: () => (closed.has(index) ? fold(index) : to(children[index][0])),
      ArrowLeft: () => (children[index].length && !closed.has(index) ? fold(index) : spans.parent[index] >= 0 && to(spans.parent[index])),
      Enter: () => choose(index), " ": () => choose(index), z: () => zoom(spans.start[index], spans.start[index] + spans.duration[index]),
    };
    if (event.key in keys && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
  });
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (window_[0] !== from || window_[1] !== until) zoom(from, until);
    else if (chosen >= 0) { const was = chosen; choose(-1, false); focusRow(was); } else return;
    event.stopPropagation();
  });
  draw();
  if (chosen >= 0) choose(chosen, false);
  return { element, choose };
}

/** `component Chat Input` is named by its mark and its name. */
const shortName = (name, what) => (["component", "agent", "tool", "model", "embeddings", "stream", "output", "flow"].includes(what) ? name.replace(/^(component|invoke_agent|invoke_workflow|execute_tool|chat|text_completion|embeddings|stream|output) (?=.)/, "") : name);

function legendOf(trace) {
  const present = KINDS.filter((kind) => trace.spans.what.some((place) => kindOf(trace.strings[place]) === kind));
  return h("ul", { class: "legend", "aria-label": "Colours" }, present.map((kind) => h("li", {}, kindMark(kind), KIND_WORDS[kind] || kind)), h("li", {}, h("span", { class: "path-sign" }), "critical path"));
}

function ticks([from, until], zero) {
  const span = until - from, rough = span / 5, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil((from - zero) / step) * step; at <= until - zero; at += step) found.push([(at + zero - from) / span, at === 0 ? "0" : tick(duration(at / 1000))]);
  return found.filter(([at]) => at < 0.92);
}

/** The whole run in small; a drag across it zooms. */
function minimap(trace, [from, until], onZoom) {
  const canvas = h("canvas", { height: 44, "aria-hidden": "true" }), shade = h("div", { class: "shade" });
  const element = h("div", { class: "minimap", title: "Drag to zoom" }, canvas, shade);
  const draw = () => {
    const width = element.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1, context = canvas.getContext("2d"), spans = trace.spans, lane = Math.max(1, Math.min(4, 40 / spans.id.length));
    canvas.width = width * scale;
    canvas.height = 44 * scale;
    context.scale(scale, scale);
    spans.id.forEach((id, index) => {
      context.fillStyle = style(trace.strings[spans.status[index]] === "error" ? "--bad" : `--k-${kindOf(trace.strings[spans.what[index]])}`);
      context.fillRect(((spans.start[index] - from) / (until - from)) * width, 2 + (index * lane) % 40, Math.max(1, (spans.duration[index] / (until - from)) * width), Math.max(1, lane - 0.5));
    });
  };
  const observer = new ResizeObserver(draw);
  observer.observe(element);
  liveCharts.add({ destroy: () => observer.disconnect() });
  let down = null;
  const at = (event) => from + Math.max(0, Math.min(1, (event.clientX - element.getBoundingClientRect().left) / element.clientWidth)) * (until - from);
  const show = ([start, end]) => {
    shade.hidden = start === from && end === until;
    shade.style.setProperty("left", `${((start - from) / (until - from)) * 100}%`);
    shade.style.setProperty("width", `${((end - start) / (until - from)) * 100}%`);
  };
  element.addEventListener("pointerdown", (event) => { down = at(event); element.setPointerCapture(event.pointerId); });
  element.addEventListener("pointermove", (event) => { if (down != null) show([Math.min(down, at(event)), Math.max(down, at(event))]); });
  element.addEventListener("pointerup", (event) => {
    const ends = [down, at(event)].sort((a, b) => a - b);
    down = null;
    onZoom(...(ends[1] - ends[0] > (until - from) / 100 ? ends : [from, until]));
  });
  return { element, show };
}

/** The component above a span, and the round of the loop that they are in. */
function whereIn(trace, index) {
  const spans = trace.spans, loop = (at) => attributesOf(trace, at).get("langflow.loop.index");
  if (loop(index) != null) return `#${label(loop(index))}`;
  for (let above = spans.parent[index]; above >= 0; above = spans.parent[above]) {
    const what = trace.strings[spans.what[above]];
    if (what === "component" || what === "agent") return [label(shortName(trace.strings[spans.name[above]], what)), loop(above) != null && ` #${label(loop(above))}`].filter(Boolean).join("");
  }
  return "";
}

/** What would have to be faster: the own time of each span on the critical path. */
function pathTable(trace, state) {
  const spans = trace.spans, whole = spans.duration[trace.root] || 1, sums = new Map();
  for (const [index, start, end] of trace.path) sums.set(index, (sums.get(index) || 0) + end - start);
  const rows = [...sums].filter(([, time]) => time > 0).sort((a, b) => b[1] - a[1]).slice(0, 12);
  if (!rows.length) return null;
  return section("Critical path: what would have to be faster for this run to be faster",
    note("At each moment the run waited for one span: its time is counted here. What ran beside it cost the run no time."),
    h("ol", { class: "bars" }, rows.map(([index, time]) => h("li", {},
      h("span", { class: "named" }, h("button", { type: "button", class: "link", onclick: () => state.choose(index) }, kindMark(trace.strings[spans.what[index]]), h("span", { class: "words" }, label(shortName(trace.strings[spans.name[index]], trace.strings[spans.what[index]])))), h("small", {}, whereIn(trace, index))),
      shareBar(time / whole, "path-share"), h("span", { class: "number" }, duration(time / 1000), h("small", {}, percent(time / whole)))))));
}
