// What a span says in detail: figures, messages, errors, events, attributes, and where its log lines are.

const MESSAGES = ["gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"];
const ROLES = ["system", "user", "assistant", "tool"];

function spanDetails(trace, index, onClose) {
  const span = trace.spans, attributes = attributesOf(trace, index);
  const what = trace.strings[span.what[index]];
  const box = h("aside", { class: "details panel", "aria-label": "The selected span", tabindex: "-1" },
    h("header", {}, kindMark(what), h("h2", {}, label(trace.strings[span.name[index]])), h("button", { type: "button", class: "close", "aria-label": "Close the details (Esc)", onclick: onClose }, "✕")));
  box.append(h("p", { class: "kind-line" }, statusMark(trace.strings[span.status[index]]), " ", KIND_WORDS[what] || what));
  box.append(factList(spanFacts(trace, index, attributes)));
  const parts = [errorPart(trace, index), contentPart(attributes), eventsPart(trace, index), attributesPart(attributes), idsPart(trace, index), resourcePart(trace, index)];
  box.append(...parts.filter(Boolean));
  return box;
}

const factList = (facts) => h("dl", { class: "facts" }, facts.filter(([, value]) => value != null && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

function attributesOf(trace, index) {
  const flat = trace.spans.attributes[index], found = new Map();
  for (let place = 0; place < flat.length; place += 2) found.set(trace.strings[flat[place]], trace.strings[flat[place + 1]] ?? "");
  return found;
}

function spanFacts(trace, index, attributes) {
  const span = trace.spans, number_ = (name) => (attributes.has(name) ? Number(attributes.get(name)) : null);
  const first = number_("gen_ai.response.time_to_first_chunk") ?? number_("langflow.stream.time_to_first_chunk");
  const input = number_("gen_ai.usage.input_tokens") ?? number_("langflow.usage.input_tokens");
  const output = number_("gen_ai.usage.output_tokens") ?? number_("langflow.usage.output_tokens");
  const cached = number_("gen_ai.usage.cache_read.input_tokens"), path = pathTime(trace, index);
  const memory = number_("langflow.flow.process.memory.peak");
  return [
    ["Duration", duration(span.duration[index] / 1000)],
    ["Begins after", duration(span.start[index] / 1000)],
    ["On the critical path", path ? `${duration(path / 1000)} (${percent(path / trace.spans.duration[trace.root])} of the run)` : null],
    ["First chunk after", first == null ? null : duration(first * 1000)],
    ["Tokens", input == null && output == null ? null : `${compact(input)} in${cached ? ` (${compact(cached)} cached)` : ""}, ${compact(output)} out`],
    ["Cost", attributes.has("langflow.cost.amount") ? money(number_("langflow.cost.amount"), attributes.get("langflow.cost.currency") || "") : null],
    ["Retries", attributes.get("langflow.model.retries")],
    ["Found", attributes.has("langflow.retrieval.document_count") ? plural(number_("langflow.retrieval.document_count"), "document") : null],
    ["Memory, highest", memory == null ? null : bytes(memory)],
  ];
}

const pathTime = (trace, index) => trace.path.reduce((sum, [span, start, end]) => sum + (span === index ? end - start : 0), 0);

function eventsOf(trace, index) {
  return trace.spans.events[index].map(([name, at, flat]) => {
    const found = new Map();
    for (let place = 0; place < flat.length; place += 2) found.set(trace.strings[flat[place]], trace.strings[flat[place + 1]] ?? "");
    return { name: trace.strings[name], at, attributes: found };
  });
}

function errorPart(trace, index) {
  const found = eventsOf(trace, index).filter((event) => event.name === "exception");
  if (!found.length) return null;
  return h("section", { class: "error-box" }, found.map(({ attributes }) => [
    h("h3", {}, label(attributes.get("exception.type") || "", "error without a type")),
    attributes.get("exception.message") ? h("p", {}, longText(attributes.get("exception.message"))) : note("The message of the error was not recorded. LANGFLOW_OTEL_ERROR_MESSAGES=redacted (or full) records it."),
    attributes.has("http.response.status_code") && h("p", {}, `HTTP status ${visible(attributes.get("http.response.status_code"))}`),
    attributes.has("exception.stacktrace") && h("details", { open: true }, h("summary", {}, "Stack trace"), h("pre", {}, visible(attributes.get("exception.stacktrace")))),
  ]));
}

const isContent = (name) => MESSAGES.includes(name) || /^(langflow\.component\.(input|output)\.|gen_ai\.tool\.(call\.(arguments|result)|definitions)|gen_ai\.retrieval\.(query|documents)|input\.value|output\.value)/.test(name)
  && name !== "langflow.component.output.names";
const CONTENT_TITLES = { "gen_ai.tool.call.arguments": "Arguments", "gen_ai.tool.call.result": "Result", "gen_ai.retrieval.query.text": "Query", "gen_ai.retrieval.documents": "Documents", "gen_ai.tool.definitions": "Tools" };

function contentPart(attributes) {
  const found = [...attributes].filter(([name]) => isContent(name));
  if (!found.length) return null;
  return h("section", { class: "content" }, h("h3", {}, "Content"), found.map(([name, value]) => (MESSAGES.includes(name) ? messages(name, value) : contentValue(name, value))));
}

function messages(name, value) {
  let list = null;
  try { list = JSON.parse(value); } catch { /* it was cut, or is another form */ }
  if (!Array.isArray(list)) return contentValue(name, value);
  if (name === "gen_ai.system_instructions") list = [{ role: "system", parts: list }];
  return h("div", { class: "messages" }, list.map((message) => {
    const role = String(message?.role ?? (name.includes("output") ? "assistant" : "user"));
    const parts = Array.isArray(message?.parts) ? message.parts : [{ content: message?.content ?? message }];
    return h("div", { class: `message role-${ROLES.includes(role) ? role : "other"}` }, h("span", { class: "role" }, label(role)), parts.map(messagePart));
  }));
}

function messagePart(part) {
  if (part?.type === "tool_call") return h("div", { class: "call" }, h("b", {}, `calls ${label(String(part.name ?? "a tool"))}`), h("pre", {}, pretty(part.arguments)));
  if (part?.type === "tool_call_response") return h("pre", {}, pretty(part.response ?? part.result));
  const content = part?.content ?? part?.text ?? part;
  return typeof content === "string" ? h("p", {}, longText(content, 6000)) : h("pre", {}, pretty(content));
}

function pretty(value) {
  if (typeof value === "string") { try { value = JSON.parse(value); } catch { return visible(value); } }
  return typeof value === "string" ? visible(value) : visible(JSON.stringify(value, null, 2) ?? "");
}

function contentValue(name, value) {
  const title = Object.hasOwn(CONTENT_TITLES, name) ? CONTENT_TITLES[name] : name.replace(/^langflow\.component\.(input|output)\./, (all, way) => `${way === "input" ? "Input" : "Output"} `);
  return h("details", { open: value.length < 2000 }, h("summary", {}, label(title)), h("pre", {}, pretty(value)));
}

function eventsPart(trace, index) {
  const found = eventsOf(trace, index).filter((event) => event.name !== "exception");
  if (!found.length) return null;
  return h("section", {}, h("h3", {}, "Events"), h("ol", { class: "events" }, found.map(({ name, at, attributes }) => h("li", {}, h("span", { class: "number" }, duration(at / 1000)), h("div", {}, h("b", {}, label(name)),
    [...attributes].map(([key, value]) => h("small", {}, `${label(key)}: ${label(value)}`)))))));
}

function attributesPart(attributes) {
  const found = [...attributes].filter(([name]) => !isContent(name)).sort(([a], [b]) => a.localeCompare(b));
  return h("section", {}, h("h3", {}, `Attributes (${found.length})`), attributeTable(found));
}

const attributeTable = (pairs) => h("table", { class: "attributes" }, h("tbody", {}, pairs.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, breakable(label(name))), h("td", {}, longText(value))))));

/** A text whose end is shown on demand where it is long. */
function longText(value, most = 1200) {
  if (value.length <= most) return visible(value);
  const rest = h("button", { type: "button", class: "more", onclick: () => rest.replaceWith(visible(value.slice(most))) }, `… all ${count(value.length)} characters`);
  return [visible(value.slice(0, most)), rest];
}

/** Long names break after their dots. */
const breakable = (name) => name.split(/(?<=[._])/).flatMap((part) => [part, h("wbr")]);

/** Log lines carry these ids: with them they are found wherever they went. */
function idsPart(trace, index) {
  const span = trace.spans.id[index];
  return h("section", {}, h("h3", {}, "Log lines and other backends"), note("Log lines of this span carry these two ids."),
    h("table", { class: "attributes ids" }, h("tbody", {}, [["trace_id", trace.id], ["span_id", span]].map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, h("code", {}, value), copyButton(value, name)))))),
    trace.spans.links[index].length > 0 && [h("h3", {}, "Links"), h("ul", { class: "plain" }, trace.spans.links[index].map(([linked]) => h("li", {}, detailed.has(linked) ? h("a", { href: href("trace", {}, linked) }, h("code", {}, linked)) : h("code", {}, linked))))]);
}

function resourcePart(trace, index) {
  const flat = trace.resources[trace.spans.resource[index]] || [];
  const pairs = [];
  for (let place = 0; place < flat.length; place += 2) pairs.push([trace.strings[flat[place]], trace.strings[flat[place + 1]] ?? ""]);
  return pairs.length ? h("details", {}, h("summary", {}, "Process that sent it"), attributeTable(pairs)) : null;
}
