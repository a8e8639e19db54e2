// The table of suspects: filtered, sorted, a page at a time.
const H = window.headwater;
const { table } = H.data;
const rowsOnPage = 50;
const places = H.data.shown.place.slice(0, H.data.onPage);
const hasClasses = Boolean(H.data.classes);
const ranking = Object.keys(table.scores)[0];

// What relabelling would put there: what the signals together suggest, or else the opponents.
H.proposal = (row) => {
  const given = H.data.shown.given[row];
  for (const label of [table.suggested?.[row], table.opponents?.[row], table.model?.[row]]) {
    if (label !== null && label !== undefined && label !== given) return label;
  }
  return null;
};

const hint = (label, share) => [H.label(label), H.el("small", {}, H.percent(share))];
const given = (row) => H.data.shown.given[row];
const columns = [
  { name: "rank", head: "#", value: (row) => row + 1, show: (row) => String(row + 1), kind: "right" },
  { name: "example", head: "Example", show: (row) => H.picture(H.data.shown.entry[row], `training example ${H.data.shown.id[row]}`, "thumb") },
  { name: "id", head: "Id", value: (row) => H.data.shown.id[row], show: (row) => String(H.data.shown.id[row]) },
  { name: "given", head: "Label", value: (row) => (hasClasses ? H.label(given(row)) : given(row)), show: (row) => H.el("b", {}, H.label(given(row))) },
];
if (table.suggested) {
  columns.push({ name: "suggested", head: "Suggested", value: (row) => H.label(table.suggested[row]),
    title: "The label that the model, over all checkpoints, and the nearest examples together find most likely",
    show: (row) => H.el("span", { class: table.suggested[row] === given(row) ? "same" : "differs" }, hint(table.suggested[row], table.support[row])) });
}
columns.push({ name: "decision", head: "Decision", value: (row) => H.decisionText(places[row]) || null, show: (row) => decisionBadge(places[row]) });
if (hasClasses) {
  columns.push(
    { name: "confidence", head: "Sure of label", value: (row) => table.confidence[row], kind: "wide-only",
      title: "The probability of the given label: average over the checkpoints, and its course from the first to the last",
      show: (row) => H.el("span", { class: "with-spark" }, H.percent(table.confidence[row]), H.spark(table.path[row])) },
    { name: "model", head: "Model says", value: (row) => H.label(table.model[row]), kind: "wide-only extra",
      title: "The most likely class, by probabilities averaged over the checkpoints",
      show: (row) => H.el("span", { class: table.model[row] === given(row) ? "same" : "differs" }, hint(table.model[row], table.certainty[row])) },
    { name: "opponents", head: "Opponents", value: (row) => (table.opponents[row] === null ? null : H.label(table.opponents[row])), kind: "wide-only extra",
      title: "If the label is wrong: the one for which its strongest opponents speak, with its share of their weight",
      show: (row) => H.el("span", { class: "same" }, table.opponents[row] === null ? "–" : hint(table.opponents[row], table.share[row])) });
} else if (table.answer) {
  columns.push({ name: "answer", head: "Model says", value: (row) => table.answer[row], show: (row) => H.number(table.answer[row], 4) });
}
for (const [name, scores] of Object.entries(table.scores)) {
  columns.push({ name: `score ${name}`, head: name[0].toUpperCase() + name.slice(1), value: (row) => scores[row], show: (row) => H.number(scores[row]), kind: name === ranking ? "right" : "right wide-only extra", largeFirst: true });
}
for (const [name, values] of Object.entries(table.columns)) {
  columns.push({ name: `column ${name}`, head: name, value: (row) => values[row], show: (row) => shown(values[row]), kind: "wide-only extra" });
}

const shown = (value) => (value === null ? "–" : typeof value === "number" ? H.number(value, 4) : typeof value === "boolean" ? (value ? "yes" : "no") : value);
const decisionBadge = (place) => {
  const text = H.decisionText(place);
  return text ? H.el("span", { class: `badge ${H.decisions.get(place).decision}` }, text) : "";
};

const views = {
  all: ["all", () => true],
  undecided: ["undecided", (row) => !H.decisions.has(places[row])],
  decided: ["decided", (row) => H.decisions.has(places[row])],
  ...(hasClasses ? {
    disagree: ["model says otherwise", (row) => table.model[row] !== H.data.shown.given[row]],
    twins: ["near-duplicates, other label", (row) => table.twin[row] !== null],
  } : {}),
  ...(table.suggested ? {
    disputed: ["all agree on another label", (row) => table.disputed[row]],
    suggested: ["another label suggested", (row) => table.suggested[row] !== H.data.shown.given[row]],
  } : {}),
  keep: ["decided: keep", (row) => H.decisions.get(places[row])?.decision === "keep"],
  relabel: ["decided: relabel", (row) => H.decisions.get(places[row])?.decision === "relabel"],
  drop: ["decided: drop", (row) => H.decisions.get(places[row])?.decision === "drop"],
};

const state = { sort: "rank", down: false, page: 0, rows: [], chosen: null };
H.state = state;
const texts = places.map((place, row) => [
  H.data.shown.id[row], H.label(H.data.shown.given[row]),
  H.data.kind === "text" ? H.data.shown.entry[row] : "",
  ...Object.values(table.columns).map((values) => values[row]),
].join("\n").toLowerCase());

const option = (value, text) => H.el("option", { value }, text);
if (hasClasses) {
  for (const [id, used] of [["filter-label", H.data.shown.given.slice(0, places.length)], ["filter-model", table.model]]) {
    const present = [...new Set(used)].sort((one, other) => one - other);
    H.fill(H.get(id), option("", "any"), present.map((label) => option(label, H.label(label))));
  }
} else {
  H.get("filter-label-part").hidden = H.get("filter-model-part").hidden = true;
}
H.fill(H.get("filter-show"), Object.entries(views).map(([key, [words]]) => option(key, words)));

const compare = (one, other) => {
  if (one === null || one === undefined) return other === null || other === undefined ? 0 : 1;
  if (other === null || other === undefined) return -1;
  if (typeof one === "number" && typeof other === "number") return (one - other) * (state.down ? -1 : 1);
  return String(one).localeCompare(String(other), "en", { numeric: true }) * (state.down ? -1 : 1);
};

H.refilter = () => {
  const wanted = H.get("search").value.trim().toLowerCase();
  const label = H.get("filter-label").value;
  const model = H.get("filter-model").value;
  const [, fits] = views[H.get("filter-show").value || "all"];
  const { value } = columns.find((one) => one.name === state.sort);
  state.rows = places.map((_, row) => row).filter((row) =>
    fits(row) && (!wanted || texts[row].includes(wanted)) &&
    (!label || String(H.data.shown.given[row]) === label) && (!model || String(table.model[row]) === model));
  // Keys are made once: those of thousands of rows are compared many times.
  const keys = new Map(state.rows.map((row) => [row, value(row)]));
  state.rows.sort((one, other) => compare(keys.get(one), keys.get(other)) || one - other);
  state.page = 0;
  H.choose(state.rows.length ? state.rows[0] : null, { focus: false });
};

const heads = () => H.fill(H.get("heads"), columns.map((column) => {
  const sorted = state.sort === column.name;
  const arrow = sorted ? (state.down ? " ↓" : " ↑") : "";
  return H.el("th", { scope: "col", class: column.kind, "aria-sort": sorted ? (state.down ? "descending" : "ascending") : null },
    column.value
      ? H.el("button", { type: "button", title: column.title, "data-sort": column.name, onclick: () => sortBy(column) }, `${column.head}${arrow}`)
      : column.head);
}));
const sortBy = (column) => {
  state.down = state.sort === column.name ? !state.down : Boolean(column.largeFirst);
  state.sort = column.name;
  heads();
  H.refilter();
  H.get("heads").querySelector(`[data-sort="${CSS.escape(column.name)}"]`).focus();
};

const tableRow = (row) => {
  const made = H.el("tr", { "data-row": row, tabindex: row === state.chosen ? 0 : -1, "aria-current": row === state.chosen ? "true" : null },
    columns.map((column) => H.el("td", { class: `${column.kind || ""} col-${column.name.split(" ")[0]}` }, column.show(row))));
  if (table.twin[row] !== null) made.querySelector(".col-given").append(H.el("small", { class: "twin", title: "A near-duplicate has another label" }, " ≈ twin"));
  return made;
};

let drawn = {};
const mark = () => {
  for (const line of H.get("rows").children) {
    const chosen = Number(line.dataset.row) === state.chosen;
    line.tabIndex = chosen ? 0 : -1;
    if (chosen) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  }
};

H.showPage = () => {
  drawn = { page: state.page, rows: state.rows };
  const start = state.page * rowsOnPage;
  const some = state.rows.slice(start, start + rowsOnPage);
  H.fill(H.get("rows"), some.map(tableRow));
  const pages = Math.max(1, Math.ceil(state.rows.length / rowsOnPage));
  H.get("page-of").textContent = state.rows.length ? `Page ${state.page + 1} of ${pages}` : "Nothing fits these filters";
  H.get("previous").disabled = state.page === 0;
  H.get("next").disabled = state.page + 1 >= pages;
  H.get("shown-count").textContent = `${state.rows.length.toLocaleString("en")} of ${H.count(places.length, "example")}` +
    (H.data.estimatedWrong ? `; about ${H.count(H.data.estimatedWrong, "label")} look${H.data.estimatedWrong === 1 ? "s" : ""} wrong` : "");
  H.showCounts();
};
H.showCounts = () => {
  const counts = { keep: 0, relabel: 0, drop: 0 };
  for (const one of H.decisions.values()) counts[one.decision] += 1;
  H.get("decided-count").textContent = H.decisions.size
    ? `${H.decisions.size} decided: ${counts.keep} keep, ${counts.relabel} relabel, ${counts.drop} drop`
    : "nothing decided yet";
};

// Chooses a row by its number in the ranking, on whichever page it is.
H.choose = (row, { focus = true } = {}) => {
  state.chosen = row;
  if (row !== null) state.page = Math.floor(state.rows.indexOf(row) / rowsOnPage);
  // A step within a page only moves the mark: keys that are held down come faster than rows are made.
  if (drawn.page === state.page && drawn.rows === state.rows) mark();
  else H.showPage();
  H.showDetail();
  const line = H.get("rows").querySelector(`[data-row="${row}"]`);
  if (!line) return;
  if (focus) line.focus({ preventScroll: true });
  reveal(line);
};
// Scrolls the list to a line, and never the page.
const reveal = (line) => {
  const list = line.closest(".scroll");
  const [top, bottom] = [line.offsetTop - H.get("heads").offsetHeight, line.offsetTop + line.offsetHeight];
  if (top < list.scrollTop) list.scrollTop = top;
  else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
};
H.move = (steps) => {
  const at = state.rows.indexOf(state.chosen);
  const to = Math.max(0, Math.min(state.rows.length - 1, at + steps));
  if (state.rows.length) H.choose(state.rows[to]);
};
H.turn = (pages) => {
  const last = Math.max(0, Math.ceil(state.rows.length / rowsOnPage) - 1);
  const page = Math.max(0, Math.min(last, state.page + pages));
  if (page !== state.page) H.choose(state.rows[page * rowsOnPage]);
};
H.jumpTo = (place) => {
  H.showTab("suspects");
  const row = H.row.get(place);
  if (!state.rows.includes(row)) {
    H.get("filters").reset();
    H.refilter();
  }
  H.choose(row);
};

H.get("filters").addEventListener("submit", (event) => event.preventDefault());
H.get("filters").addEventListener("input", () => H.refilter());
H.get("rows").addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  if (line) H.choose(Number(line.dataset.row));
});
H.get("previous").addEventListener("click", () => H.turn(-1));
H.get("next").addEventListener("click", () => H.turn(1));
H.onDecision.push(() => {
  // Only what changed: the list stays in its order until it is sorted or filtered anew.
  for (const line of H.get("rows").children) {
    H.fill(line.querySelector(".col-decision"), decisionBadge(places[Number(line.dataset.row)]));
  }
  H.showCounts();
  H.showDetail();
});

const notes = [];
if (H.data.onPage < H.data.count) {
  notes.push(`The ${H.data.onPage.toLocaleString("en")} of ` +
    `${H.count(H.data.count, "training example")} with the highest ${ranking} are on this page; ` +
    `the overview counts all.`);
}
if (H.data.kind === "text" && H.data.shown.entry.some((text) => text.length > H.data.longestText)) {
  notes.push(`Texts are cut after ${H.data.longestText} characters.`);
}
if (H.data.features && H.data.features.length < H.data.allFeatures) {
  notes.push(`Of each row's ${H.data.allFeatures.toLocaleString("en")} numbers the first ${H.data.features.length} are shown.`);
}
H.get("sample-note").hidden = !notes.length;
H.get("sample-note").textContent = notes.join(" ");
H.places = places;
H.ranking = ranking;
H.start = () => {
  heads();
  H.refilter();
};
