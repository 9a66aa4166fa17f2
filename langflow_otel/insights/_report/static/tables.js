// A table whose columns sort, and whose rows can be reached by keyboard.

/** columns: {name, title, value(row), cell(row), number, wide}; rows: any. onOpen(row) on click or Enter. */
function sortedTable({ caption, columns, rows, sort, descending = true, onOpen, limit = 200 }) {
  let shown = limit;
  const state = { sort, descending };
  const body = h("tbody");
  const more = h("button", { class: "more", type: "button", onclick: () => { shown += 500; draw(); } });
  const heads = columns.map((column) => {
    if (!column.value) return h("th", { scope: "col", class: column.number ? "number" : "", title: column.help }, column.title);
    const button = h("button", { type: "button", class: "sort", title: column.help }, column.title);
    button.addEventListener("click", () => {
      state.descending = state.sort === column.name ? !state.descending : column.number === true;
      state.sort = column.name;
      draw();
    });
    return h("th", { scope: "col", class: column.number ? "number" : "", "data-column": column.name }, button);
  });
  function draw() {
    for (const head of heads) {
      const name = head.dataset.column;
      if (name) head.setAttribute("aria-sort", name !== state.sort ? "none" : state.descending ? "descending" : "ascending");
    }
    const by = columns.find((column) => column.name === state.sort);
    const ordered = by ? sortedBy(rows, by.value, state.descending) : rows;
    body.replaceChildren(...ordered.slice(0, shown).map((row) => tableRow(columns, row, onOpen)));
    if (onOpen && body.firstElementChild) body.firstElementChild.tabIndex = 0;
    more.hidden = ordered.length <= shown;
    more.textContent = `Show more (${count(ordered.length - shown)} left)`;
  }
  draw();
  if (onOpen) arrowKeys(body);
  return h("div", { class: "table-scroll", tabindex: "-1" },
    h("table", {}, h("caption", { class: "visually-hidden" }, caption), h("thead", {}, h("tr", {}, heads)), body), more);
}

function tableRow(columns, row, onOpen) {
  const cells = columns.map((column) => h("td", { class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") }, column.cell(row)));
  const element = h("tr", onOpen ? { tabindex: "-1", class: "opens" } : {}, cells);
  if (onOpen) {
    // One stop for the tabulator key in the whole table: the arrows go from row to row, and Enter opens what the links do.
    for (const link of element.querySelectorAll("a")) link.tabIndex = -1;
    element.addEventListener("click", (event) => { if (!event.target.closest("a, button") && !getSelection().toString()) onOpen(row); });
    element.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === element) onOpen(row); });
  }
  return element;
}

/** What has no value comes last, in both directions. */
function sortedBy(rows, value, descending) {
  const sign = descending ? -1 : 1;
  return rows.map((row, place) => [value(row), place, row]).sort(([a, i], [b, j]) => {
    const lacksA = a == null || a === "", lacksB = b == null || b === "";
    if (lacksA || lacksB) return lacksA && lacksB ? i - j : lacksA ? 1 : -1;
    const order = typeof a === "string" ? a.localeCompare(b) : a - b;
    return order * sign || i - j;
  }).map(([, , row]) => row);
}

/** Up and down from row to row. */
function arrowKeys(body) {
  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("tr");
    for (const each of body.children) each.tabIndex = each === row ? 0 : -1;
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const next = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling, Home: body.firstElementChild, End: body.lastElementChild }[event.key];
    if (next && event.target === row) { event.preventDefault(); next.focus(); }
  });
}
