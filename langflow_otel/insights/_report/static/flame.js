// The flame graph: the spans of many runs merged by the path of their names; and the difference of two sets of runs.

const FRAME_HEIGHT = 26;
const sets = () => data.flames.sets.filter((each) => each.runs > 0);
const setWords = (set) => `${text(set.flow) ? label(text(set.flow)) : "All flows"}${text(set.title) ? `, ${label(text(set.title))}` : ""}`;

function flameView(main, { flow, parameters }) {
  const known = sets();
  main.append(h("h1", {}, "Flame graph"));
  if (!known.length) { main.append(empty("No run is in these traces.")); return; }
  const preferred = known.findIndex((set) => text(set.flow) === (flow || "") && !text(set.title));
  const state = { a: placeIn(known, parameters.get("set"), Math.max(0, preferred)), b: placeIn(known, parameters.get("to"), -1), query: parameters.get("q") || "", zoomed: [] };
  const graph = h("div", { class: "flame", role: "tree", "aria-label": "Flame graph" });
  const said = h("p", { class: "found", role: "status" }), about = h("div", { class: "flame-about", "aria-live": "polite" }), widest = h("section", { class: "panel" }), crumbs = h("nav", { class: "crumbs flame-crumbs", "aria-label": "Zoomed into" });
  const options = known.map((set, place) => [String(place), `${setWords(set)} (${plural(set.runs, "run")})`]);
  const search = searchField("Search frames", "search frames …", state.query, (value) => { state.query = value; remember({ q: value }); draw(); });
  const first = choice("Runs", options, String(state.a), (value) => { state.a = Number(value); keep(); }, "") || h("span");
  const second = choice("Compare with", options, state.b < 0 ? "" : String(state.b), (value) => { state.b = value === "" ? -1 : Number(value); keep(); }, "nothing") || h("span");
  const offers = h("p", { class: "offers" }, "Compare: ", comparisons(known).map(([from, to, words]) => h("button", { type: "button", class: "chip", onclick: () => choosePair(from, to) }, words)));
  main.append(h("div", { class: "toolbar" }, h("label", {}, "Runs ", first), h("label", {}, "compared with ", second), search), offers, said, section("", crumbs, graph, about), widest);
  function choosePair(from, to) {
    [state.a, state.b] = [from, to];
    first.value = String(from);
    second.value = String(to);
    second.classList.add("set");
    keep();
  }
  function keep() { remember({ set: state.a, to: state.b < 0 ? "" : state.b }); state.zoomed = []; draw(); }

  function draw() {
    const before = known[state.a], after = state.b < 0 ? null : known[state.b];
    const root = mergedFrames(before, after);
    const path = state.zoomed.reduce((found, name) => { const next = found.at(-1).children.find((child) => child.name === name); return next ? [...found, next] : found; }, [root]);
    const top = path.at(-1), query = state.query.toLowerCase(), rows = [];
    let matched = 0;
    place(top, 0, 1, 0, false);
    function place(frame, left, width, depth, inMatch) {
      const matches = query !== "" && visible(frame.name).toLowerCase().includes(query);
      if (matches && !inMatch) matched += width;
      rows.push({ frame, left, width, depth, matches });
      let at = left;
      for (const child of frame.children) {
        const part = frame.width > 0 ? (child.width / frame.width) * width : 0;
        if (part > 0.0008) place(child, at, part, depth + 1, inMatch || matches);
        at += part;
      }
    }
    graph.style.setProperty("height", `${(Math.max(...rows.map((row) => row.depth)) + 1) * FRAME_HEIGHT}px`);
    graph.replaceChildren(...rows.map((row, index) => frameBox(row, index, root, after, query)));
    offers.hidden = after !== null || comparisons(known).length === 0;
    crumbs.hidden = path.length === 1;
    crumbs.replaceChildren(...path.map((frame, depth) => [depth > 0 && h("span", { "aria-hidden": "true" }, "›"), h("button", { type: "button", class: "link", disabled: depth === path.length - 1, onclick: () => { state.zoomed = state.zoomed.slice(0, depth); draw(); } }, label(shortName(frame.name, frame.what), "all runs"))]).flat().filter(Boolean));
    said.replaceChildren(...(after ? [h("b", { class: "slower" }, "Red"), " is slower in ", meanWords(after, root.b), " than in ", meanWords(before, root.a), ", ", h("b", { class: "faster" }, "blue"), " is faster. The width is the time in both together."]
      : [`The spans of ${plural(before.runs, "run")}, merged where they have the same name below the same parents. The width is their time.`]),
      query ? ` ${percent(matched)} of the time is in frames that match.` : "", before.sampled || after?.sampled ? ` Of larger sets the newest ${count(data.flames.newest)} runs are merged.` : "");
    tell(top, root, after);
    widest.replaceChildren(...ownTimes(top, after));
  }
  function frameBox({ frame, left, width, depth, matches }, index, root, after, query) {
    const words = after ? `${label(frame.name, "all runs")}: ${duration(frame.b * 1000)} against ${duration(frame.a * 1000)} in a run` : `${label(frame.name, "all runs")}: ${duration(frame.total * 1000)}, ${percent(frame.width / root.width)}`;
    const box = h("div", { class: `frame ${after ? "diff" : `kind-${kindOf(frame.what || "other")}`}${matches ? " match" : query ? " dim" : ""}`, role: "treeitem", "aria-level": depth + 1, "aria-label": words, tabindex: index === 0 ? "0" : "-1",
      style: { left: `${left * 100}%`, width: `calc(${width * 100}% - 1px)`, top: `${depth * FRAME_HEIGHT}px`, ...(after ? { "--change": changeOf(frame, root) } : {}) } },
    width > 0.012 ? h("span", {}, label(shortName(frame.name, frame.what), "all runs")) : "");
    box.frame = frame;
    box.addEventListener("click", () => zoom(frame));
    box.addEventListener("mouseenter", () => tell(frame, root, after));
    box.addEventListener("focus", () => tell(frame, root, after));
    return box;
  }
  function zoom(frame) {
    const names = [];
    for (let each = frame; each.parent; each = each.parent) names.unshift(each.name);
    state.zoomed = names;
    draw();
    graph.firstElementChild?.focus({ preventScroll: true });
  }
  function tell(frame, root, after) {
    const facts = after
      ? [["Before, in a run", duration(frame.a * 1000)], ["After, in a run", duration(frame.b * 1000)], ["Difference", h("b", { class: frame.b > frame.a ? "slower" : "faster" }, `${frame.b > frame.a ? "+" : ""}${duration((frame.b - frame.a) * 1000)}`)], ["Of it in the span itself", duration((frame.selfB - frame.selfA) * 1000)], ["Times in a run", `${frame.countA.toFixed(2)} → ${frame.countB.toFixed(2)}`]]
      : [["Time", duration(frame.total * 1000)], ["Of all time", percent(frame.width / root.width)], ["In the span itself", duration(frame.self * 1000)], ["Times", count(frame.count)], ["Average", duration((frame.total / Math.max(frame.count, 1)) * 1000)], ["Failed", frame.errors ? h("span", { class: "bad-word" }, count(frame.errors)) : "0"]];
    about.replaceChildren(h("h2", {}, frame.what && kindMark(frame.what), label(frame.name, "all runs")), factList(facts));
  }
  graph.addEventListener("keydown", (event) => {
    const frame = event.target.frame;
    if (!frame) return;
    const boxes = [...graph.children], siblings = frame.parent ? frame.parent.children : [frame], at = siblings.indexOf(frame);
    const to = (next) => boxes.find((box) => box.frame === next)?.focus();
    const keys = { ArrowUp: () => to(frame.parent), ArrowDown: () => to(frame.children[0]), ArrowRight: () => to(siblings[at + 1]), ArrowLeft: () => to(siblings[at - 1]), Enter: () => zoom(frame), " ": () => zoom(frame) };
    if (event.key in keys) { event.preventDefault(); keys[event.key](); }
    if (event.key === "Escape" && state.zoomed.length) { state.zoomed.pop(); draw(); graph.firstElementChild?.focus(); event.stopPropagation(); }
  });
  draw();
}

/** The newest version of a flow with the one before it, and the last day with the one before: [from, to, in words]. */
function comparisons(known) {
  const found = [], sameFlow = (a, b) => a.flow === b.flow, isVersion = (set) => text(set.title).startsWith("version ");
  known.forEach((set, place) => {
    const before = known[place + 1];
    if (!before || !text(set.title) || !text(before.title) || !sameFlow(set, before) || isVersion(set) !== isVersion(before)) return;
    if (found.some(([, to]) => sameFlow(known[to], set) && isVersion(known[to]) === isVersion(set))) return;
    found.push([place + 1, place, isVersion(set) ? `the two newest versions of ${label(text(set.flow)).slice(0, 40)}` : `${text(set.title)} with ${text(before.title)}`]);
  });
  return found.slice(0, 6);
}

const meanWords = (set, mean) => `${setWords(set)} (${plural(set.runs, "run")}, ${duration(mean * 1000)} on average)`;

/** The names with the most own time, or with the largest change of it, wherever they are below this frame. */
function ownTimes(top, after) {
  const sums = new Map(), waiting = [top];
  while (waiting.length) {
    const frame = waiting.pop(), name = `${frame.what} ${frame.name}`, sum = sums.get(name) || { frame, own: 0, places: 0 };
    sum.own += after ? frame.selfB - frame.selfA : frame.self;
    sum.places += 1;
    sums.set(name, sum);
    waiting.push(...frame.children);
  }
  const rows = [...sums.values()].filter((each) => Math.abs(each.own) > 1e-4).sort((a, b) => Math.abs(b.own) - Math.abs(a.own)).slice(0, 10);
  const most = Math.max(...rows.map((each) => Math.abs(each.own)), 1e-9), whole = top.width || 1;
  return [h("h2", {}, after ? "What changed the most: own time in an average run" : "What takes the most time itself"), rows.length ? h("ol", { class: "bars" }, rows.map(({ frame, own }) => h("li", {},
    h("span", { class: "named" }, frame.what && kindMark(frame.what), h("span", { class: "words" }, label(shortName(frame.name, frame.what), "all runs"))),
    shareBar(Math.abs(own) / most, after ? (own > 0 ? "bad" : "fast") : ""), h("span", { class: "number" }, after ? h("b", { class: own > 0 ? "slower" : "faster" }, `${own > 0 ? "+" : ""}${duration(own * 1000)}`) : [duration(own * 1000), h("small", {}, percent(own / whole))])))) : note("Nothing.")];
}

function placeIn(known, value, otherwise) {
  const place = value == null || value === "" ? otherwise : Number(value);
  return Number.isInteger(place) && place < known.length ? place : otherwise;
}

/** Blue where it became faster, red where slower; as strong as the change is large beside that of the whole run. */
function changeOf(frame, root) {
  const largest = Math.max(Math.abs(root.b - root.a), (root.a + root.b) * 0.02, 1e-9);
  return String(Math.max(-1, Math.min(1, (frame.b - frame.a) / largest)));
}

/** The frames of one set, or of two sets together, per run. */
function mergedFrames(before, after) {
  const valuesOf = (set) => new Map(set.frames.node.map((node, place) => [node, place]));
  const inBefore = valuesOf(before), inAfter = after && valuesOf(after), nodes = data.flames.nodes, made = new Map();
  const get = (set, map, node, name) => (map && map.has(node) ? set.frames[name][map.get(node)] : 0);
  const order = [...new Set([...inBefore.keys(), ...(inAfter ? inAfter.keys() : [])])].sort((a, b) => a - b);
  for (const node of order) {
    const frame = { name: text(nodes.name[node]), what: text(nodes.what[node]), children: [], parent: made.get(nodes.parent[node]) || null };
    Object.assign(frame, { total: get(before, inBefore, node, "total"), self: get(before, inBefore, node, "self"), count: get(before, inBefore, node, "count"), errors: get(before, inBefore, node, "errors") });
    if (after) Object.assign(frame, {
      a: frame.total / before.runs, b: get(after, inAfter, node, "total") / after.runs, selfA: frame.self / before.runs, selfB: get(after, inAfter, node, "self") / after.runs,
      countA: frame.count / before.runs, countB: get(after, inAfter, node, "count") / after.runs,
    });
    frame.own = after ? frame.selfA + frame.selfB : frame.self;
    if (frame.parent) frame.parent.children.push(frame);
    made.set(node, frame);
  }
  for (const node of order.slice().reverse()) {
    const frame = made.get(node);
    frame.width = frame.own + frame.children.reduce((sum, child) => sum + child.width, 0);
    frame.children.sort((a, b) => b.width - a.width);
  }
  return made.get(0);
}
