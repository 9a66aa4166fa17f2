// Curves over time, by uPlot; and the small ones that are drawn here.

const liveCharts = new Set();

/** Charts of the view that is left are let go. */
function dropCharts() {
  for (const chart of liveCharts) chart.destroy();
  liveCharts.clear();
}

function timeTicks(plot, splits, axis, space, step) {
  let day = null;
  return splits.map((seconds) => {
    const date = new Date(seconds * 1000);
    const today = `${date.getDate()} ${MONTHS[date.getMonth()]}`;
    if (step >= 86400) return today;
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}${step < 60 ? ":" + two(date.getSeconds()) : ""}`;
    const shown = today === day ? clock : `${clock}\n${today}`;
    day = today;
    return shown;
  });
}

/** Round figures need no decimals on an axis. */
const tick = (words) => words.replace(/(\.\d*?)0+(?= |$)/, "$1").replace(/\.(?= |$)/, "");
const POWERS = Array.from({ length: 12 }, (_, place) => 10 ** (place - 1));
const BINARY = Array.from({ length: 44 }, (_, place) => 2 ** place);
/** What two marks of time may be apart, in seconds: not less than one. */
const MINUTE = 60, HOUR = 3600, DAY = 86400, YEAR = 365 * DAY;
const APART = [
  1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((each) => each * MINUTE), ...[1, 2, 3, 4, 6, 8, 12].map((each) => each * HOUR),
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 30, 60, 90, 120, 180].map((each) => each * DAY), ...[1, 2, 5, 10, 25, 50, 100].map((each) => each * YEAR),
];
const WHOLE = Array.from({ length: 15 }, (_, place) => [1, 2, 5].map((each) => each * 10 ** place)).flat();

/** The powers of ten between the two, or where these are too few, their double and fivefold as well. */
function logSplits(low, high) {
  const within = (values) => values.filter((value) => value >= low && value <= high), powers = within(POWERS);
  return powers.length > 1 ? powers : within(POWERS.flatMap((power) => [power, 2 * power, 5 * power]));
}

const axes = (format, log) => {
  const line = { stroke: style("--ink-3"), font: "11px system-ui, sans-serif", ticks: { show: false }, gap: 6 };
  const grid = { stroke: style("--line"), width: 1 };
  return [
    { ...line, grid: { show: false }, incrs: APART, values: timeTicks, size: 40, space: 70 },
    {
      ...line, grid, size: 62, space: 32, incrs: format === bytes ? BINARY : format === compact ? WHOLE : undefined, values: (plot, splits) => splits.map((value) => (value == null ? null : tick(format(value)))),
      ...(log ? { splits: (plot, axis, low, high) => logSplits(low, high), filter: (plot, splits) => splits } : {}),
    },
  ];
};

/** Half of the widest mark of time (14:21:09), which may stand at the very end. */
const LAST_TICK = 28;

/** A titled chart over time, its values at the cursor in the legend. series: {name, values, color, bars, fill, format}; open(place) on a click. */
function timeChart({ title, hint, x, series, format, open, height = 190 }) {
  const pad = x.length > 1 ? (x[1] - x[0]) / 2 : 5 * data.overview.width_s;
  const legend = h("div", { class: "chart-legend" });
  const box = h("div", { class: "chart-box", style: { height: `${height}px` } });
  const figure = h("figure", { class: "chart panel", "aria-label": `${title}. ${series.map((each) => each.name).join(", ")} over time.` },
    h("figcaption", {}, h("h3", {}, title), hint && h("span", { class: "hint" }, hint)), legend, box);
  const paths = uPlot.paths;
  const options = {
    width: 400, height, padding: [8, LAST_TICK, 0, 0],
    scales: { x: { time: true, range: (plot, low, high) => (x.length > 1 ? [low - pad, high + pad] : [x[0] - pad, x[0] + pad]) }, y: { range: (plot, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: axes(format, false),
    cursor: { sync: { key: "time", setSeries: false }, points: { size: 6 }, drag: { x: true, y: false, uni: 20 }, focus: { prox: -1 } },
    legend: { live: true, markers: { width: 0, fill: (plot, index) => (index ? style(series[index - 1].color) : "transparent") }, mount: (plot, element) => legend.append(element) },
    series: [
      { label: "Time", value: (plot, value) => (value == null ? "" : when(value * 1000, { seconds: false })) },
      ...series.map((each) => ({
        label: each.name, stroke: style(each.color), width: each.bars ? 0 : 1.6,
        fill: each.bars ? style(each.color) : each.fill ? style(each.fill) : undefined,
        value: (plot, value, place, index) => (index == null ? "" : (each.format || format)(each.shown ? each.shown[index] : value)),
        points: { show: !each.bars, size: 5, filter: () => lonely(each.values) },
        paths: each.bars ? paths.bars({ size: [0.86, 40], radius: 0 }) : paths.linear(),
      })),
    ],
  };
  mountPlot(box, options, [x, ...series.map((each) => each.values)], open && ((plot) => {
    plot.over.style.setProperty("cursor", "pointer");
    onClick(plot.over, () => { if (plot.cursor.idx != null) open(plot.cursor.idx); });
  }));
  return figure;
}

/** The places of values without a neighbour: no line goes through them. */
const lonely = (values) => values.flatMap((value, place) => (value != null && values[place - 1] == null && values[place + 1] == null ? [place] : []));

/** Clicks that do not end a drag. */
function onClick(element, act) {
  let pressed = 0;
  element.addEventListener("mousedown", (event) => { pressed = event.clientX; });
  element.addEventListener("click", (event) => { if (Math.abs(event.clientX - pressed) < 4) act(event); });
}

/** Drawn when it has a width, and again when that changes. */
function mountPlot(box, options, values, ready) {
  let plot = null;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(box.clientWidth);
    if (!width) return;
    if (plot) plot.setSize({ width, height: options.height });
    else {
      plot = new uPlot({ ...options, width }, values, box);
      if (ready) ready(plot);
    }
  });
  observer.observe(box);
  liveCharts.add({ destroy: () => { observer.disconnect(); if (plot) plot.destroy(); } });
}

/** The place of the first number that is not below this one, in numbers that rise. */
function firstFrom(numbers, value) {
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

/** Every run as a dot: when it started, and how long it took. A click opens it. */
function runDots(places, height = 230) {
  const ordered = places.slice().reverse();
  const x = ordered.map((place) => runs.start[place] / 1000);
  const sets = ["ok", "cancelled", "error"];
  const other = (status) => (sets.includes(status) ? status : "ok");
  const y = sets.map((set) => ordered.map((place) => (other(text(runs.status[place])) === set ? Math.max(runs.duration[place] / 1000, 0.05) : null)));
  const colors = { ok: "--dot", cancelled: "--warn-bar", error: "--bad" };
  const tip = h("div", { class: "dot-tip", hidden: true });
  const box = h("div", { class: "chart-box dots", style: { height: `${height}px` } }, tip);
  const options = {
    height, padding: [10, LAST_TICK, 0, 0],
    scales: { x: { time: true, range: (plot, low, high) => { const pad = x[0] < x.at(-1) ? (high - low) / 100 : 30; return [low - pad, (x.length > 1 ? high : low) + pad]; } }, y: { distr: 3, range: (plot, low, high) => [low == null ? 1 : low * 0.7, high == null ? 10 : high * 1.4] } },
    axes: axes(duration, true),
    legend: { show: false },
    cursor: { sync: { key: "time", setSeries: false }, points: { show: false }, drag: { x: true, y: false, uni: 20 } },
    series: [{}, ...sets.map((set) => ({
      stroke: style(colors[set]), paths: () => null,
      points: { show: true, size: places.length > 3000 ? 3.2 : places.length > 100 ? 5 : 7, width: 0, fill: style(colors[set]) },
    }))],
  };
  mountPlot(box, options, [x, ...y], (plot) => {
    const nearest = (left, top) => {
      let best = null, distance = 144;
      // Only those that started about then: of tens of thousands, a few.
      for (let index = firstFrom(x, plot.posToVal(left - 12, "x")), until = plot.posToVal(left + 12, "x"); index < x.length && x[index] <= until; index += 1) {
        const across = plot.valToPos(x[index], "x") - left, down = plot.valToPos(Math.max(runs.duration[ordered[index]] / 1000, 0.05), "y") - top;
        if (across * across + down * down < distance) { distance = across * across + down * down; best = ordered[index]; }
      }
      return best;
    };
    onClick(plot.over, (event) => {
      const place = nearest(event.offsetX, event.offsetY);
      if (place != null) go(runHref(place));
    });
    plot.over.addEventListener("mousemove", (event) => {
      const place = nearest(event.offsetX, event.offsetY);
      plot.over.style.setProperty("cursor", place == null ? "crosshair" : "pointer");
      tip.hidden = place == null;
      if (place == null) return;
      tip.replaceChildren(h("b", {}, label(text(runs.flow[place]))), " ", statusMark(text(runs.status[place])), h("br"),
        `${duration(runs.duration[place] / 1000)} · ${when(runs.start[place])}`, text(runs.slowest[place]) && h("br"),
        text(runs.slowest[place]) && `longest in it: ${label(text(runs.slowest[place]))}`);
      const left = event.offsetX + plot.over.offsetLeft;
      tip.style.setProperty("left", `${Math.min(left + 14, box.clientWidth - 240)}px`);
      tip.style.setProperty("top", `${Math.max(event.offsetY - 30, 0)}px`);
    });
    plot.over.addEventListener("mouseleave", () => { tip.hidden = true; });
  });
  return box;
}

/** A line as small as a word. */
function sparkline(values, color = "--accent", width = 96, height = 24) {
  const known = values.filter((value) => value != null);
  if (known.length < 2) return h("span", { class: "spark" });
  const highest = Math.max(...known) || 1;
  const step = width / (values.length - 1);
  let path = "", gap = true;
  values.forEach((value, place) => {
    if (value == null) { gap = true; return; }
    path += `${gap ? "M" : "L"}${(place * step).toFixed(1)},${(height - 2 - (value / highest) * (height - 4)).toFixed(1)}`;
    gap = false;
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: path, fill: "none", style: { stroke: `var(${color})` }, "stroke-width": "1.5", "vector-effect": "non-scaling-stroke" }));
}

/** A figure that lines up below others, beside its bar. */
const figure = (words) => h("span", { class: "figure" }, words);

/** A part of the whole as a bar. */
const shareBar = (part, kind = "") => h("span", { class: `share ${kind}`, "aria-hidden": "true" },
  h("span", { style: { width: `${Math.max(0, Math.min(1, part || 0)) * 100}%` } }));
