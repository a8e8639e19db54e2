// The chosen example at full size, with what speaks for and against its label.
const H = window.headwater;
const { table } = H.data;

H.showDetail = () => {
  const row = H.state.chosen;
  const holder = H.get("detail");
  if (row === null) {
    H.fill(holder, H.el("p", { class: "quiet" }, "No example is chosen."));
    return;
  }
  const place = H.places[row];
  const given = H.data.shown.given[row];
  H.fill(holder,
    H.el("h2", {}, `Example ${H.data.shown.id[row]}`),
    H.el("div", { class: "subject" }, H.picture(H.data.shown.entry[row], `training example ${H.data.shown.id[row]}`, "large"), verdict(row, given)),
    choices(row, place, given),
    table.path ? course(row) : null,
    twin(row),
    ...neighbours(place),
    others(row));
};

const fact = (name, value, note) => H.el("div", {}, H.el("dt", {}, name), H.el("dd", {}, value, note ? H.el("small", {}, note) : null));

const verdict = (row, given) => H.el("dl", { class: "facts" },
  fact("Label", H.el("b", {}, H.label(given))),
  table.model ? fact("Model says", H.label(table.model[row]), H.percent(table.certainty[row])) : null,
  table.answer ? fact("Model says", H.number(table.answer[row], 4)) : null,
  table.suggested ? fact("Suggested", H.label(table.suggested[row]), H.percent(table.support[row])) : null,
  table.opponents && table.opponents[row] !== null ? fact("Opponents say", H.label(table.opponents[row]), H.percent(table.share[row])) : null,
  ...Object.entries(table.scores).map(([name, scores]) => fact(name[0].toUpperCase() + name.slice(1), H.number(scores[row]))));

const choices = (row, place, given) => {
  const decided = H.decisions.get(place);
  const proposal = H.proposal(row);
  const chosen = decided?.decision === "relabel" ? decided.label : proposal;
  const button = (name, key, words, act) => H.el("button", {
    type: "button", class: `choice ${name}`, "data-decision": name,
    "aria-pressed": decided?.decision === name ? "true" : "false", onclick: act,
  }, words, H.el("kbd", {}, key));
  const parts = [button("keep", "y", "✓ Keep", () => H.decide(place, "keep"))];
  if (H.data.classes) {
    const select = H.el("select", { id: "new-label", "aria-label": "New label", onchange: (event) => {
      if (event.target.value !== "") H.decide(place, "relabel", Number(event.target.value));
      H.get("new-label").focus();
    } }, chosen === null ? H.el("option", { value: "" }, "choose …") : null,
    H.data.classes.map((name, label) => (label === given ? null : H.el("option", { value: label, selected: label === chosen }, name))));
    parts.push(H.el("span", { class: "relabelling" },
      button("relabel", "r", "✎ Relabel to", () => H.relabel(row)), select));
  }
  parts.push(button("drop", "d", "✕ Drop", () => H.decide(place, "drop")));
  if (decided) parts.push(H.el("button", { type: "button", class: "choice", onclick: () => H.undecide(place) }, "Undo", H.el("kbd", {}, "u")));
  return H.el("div", { class: "choices", role: "group", "aria-label": "Decision" }, parts);
};

// Relabels to the label that stands in the list beside the button; without one, asks for it.
H.relabel = (row) => {
  if (!H.data.classes) return false;
  const value = H.get("new-label")?.value ?? "";
  if (value === "") {
    H.get("new-label")?.focus();
    return false;
  }
  H.decide(H.places[row], "relabel", Number(value));
  return true;
};

const course = (row) => H.el("section", { class: "course" },
  H.el("h3", {}, "How sure of its label, checkpoint by checkpoint"),
  H.spark(table.path[row], true),
  H.el("p", { class: "quiet" }, `${H.percent(table.path[row][0])} at ${H.data.checkpoints[0]}, ` +
    `${H.percent(table.path[row].at(-1))} at ${H.data.checkpoints.at(-1)}; the likeliest class at ` +
    `${table.agreeing[row]} of ${H.data.checkpoints.length}.`));

const twin = (row) => {
  const other = table.twin[row];
  if (other === null) return null;
  return H.el("section", { class: "twins" }, H.el("h3", {}, "≈ Nearly the same, under another label"),
    H.el("ul", { class: `influences ${H.data.kind}` }, H.el("li", {}, H.picture(H.entry(other), `training example ${H.id(other)}`, "small"),
      H.el("div", { class: "said" }, H.el("b", {}, H.label(H.given(other))),
        H.row.has(other) ? H.el("button", { type: "button", class: "link", onclick: () => H.jumpTo(other) }, `#${H.id(other)}`) : H.el("span", {}, `#${H.id(other)}`)))));
};

const neighbours = (place) => {
  const found = H.data.neighbours[place];
  if (!found) {
    return [H.el("p", { class: "quiet" }, `Proponents and opponents are computed for the first ${H.data.traced.toLocaleString("en")} in the ranking.`)];
  }
  return [
    H.strip("Against its label", "opp", found[1], null, "No other example spoke against it."),
    H.strip("For its label", "pro", found[0], null, "No other example spoke for it."),
  ];
};

const others = (row) => {
  const known = Object.entries(table.columns);
  if (!known.length) return null;
  return H.el("dl", { class: "facts" }, known.map(([name, values]) => fact(name, String(values[row] ?? "–"))));
};
