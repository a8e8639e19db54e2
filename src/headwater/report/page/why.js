// Why this prediction: a query's proponents and opponents, and how its influence is spread.
const H = window.headwater;
const asked = H.data.queries;
let chosen = 0;

const isMisread = (one) => one.model !== undefined && one.model !== one.given;
const verdict = (one) => {
  if (one.model === undefined) return one.answer === undefined ? "" : `says ${H.number(one.answer)}, is ${H.number(one.given)}`;
  return isMisread(one) ? `✕ read as ${H.label(one.model)}, is ${H.label(one.given)}` : `✓ ${H.label(one.given)}`;
};

const list = () => H.fill(H.get("queries"),
  H.el("p", { class: "quiet" }, `${H.count(asked.explained.length, "prediction")} of ${H.count(asked.count, "query", "queries")}` +
    (asked.misread === null ? "" : `; ${asked.misread} are misread, these come first`)),
  H.el("ul", {}, asked.explained.map((one, place) =>
    H.el("li", {}, H.el("button", { type: "button", class: isMisread(one) ? "misread" : "", "aria-current": place === chosen ? "true" : null, onclick: () => H.chooseQuery(place) },
      H.picture(one.entry, `query ${one.id}`, "thumb"),
      H.el("span", {}, H.el("b", {}, verdict(one)), H.el("small", {}, `query ${one.id}`)))))));

const subject = (one) => H.el("div", { class: "subject card" },
  H.picture(one.entry, `query ${one.id}`, "large"),
  H.el("div", {},
    H.el("h2", {}, one.model === undefined ? `Query ${one.id}` : isMisread(one) ? `Read as “${H.label(one.model)}”; it is “${H.label(one.given)}”` : `Rightly read as “${H.label(one.given)}”`),
    H.el("dl", { class: "facts" },
      one.model === undefined ? null : fact(`Sure of “${H.label(one.model)}”`, H.percent(one.certainty)),
      one.model === undefined || !isMisread(one) ? null : fact(`Sure of “${H.label(one.given)}”`, H.percent(one.confidence)),
      one.answer === undefined ? null : fact("Model says", H.number(one.answer, 4)),
      one.answer === undefined ? null : fact("It is", H.number(one.given, 4)),
      fact("Loss", H.number(one.loss)),
      fact("Half of the influence", H.count(one.half, "example")),
      ...Object.entries(one.columns).map(([name, value]) => fact(name, String(value ?? "–"))))));
const fact = (name, value) => H.el("div", {}, H.el("dt", {}, name), H.el("dd", {}, value));

const curve = (one) => H.chart("How few examples carry it",
  `${H.count(one.half, "example")} of ${H.data.count.toLocaleString("en")} ${one.half === 1 ? "carries" : "carry"} half of the absolute influence.`,
  (colour) => ({
    height: 160,
    layer: [
      { data: { values: one.curve.map(([count, share]) => ({ count, share })) },
        mark: { type: "line", color: colour("--accent"), strokeWidth: 2.5, tooltip: true },
        encoding: {
          x: { field: "count", type: "quantitative", scale: { type: "log", domainMin: 1 }, title: "strongest examples", axis: { grid: false, tickCount: 4 } },
          y: { field: "share", type: "quantitative", title: "share of absolute influence", axis: { format: "%", tickCount: 5 }, scale: { domain: [0, 1] } } } },
      { data: { values: [{ count: one.half, share: 0.5 }] },
        mark: { type: "point", filled: true, size: 80, color: colour("--opp"), tooltip: { content: "data" } },
        encoding: { x: { field: "count", type: "quantitative" }, y: { field: "share", type: "quantitative" } } },
    ],
  }), ["examples", "share"], one.curve);

const shares = (one, name, groups, names = H.axisNames(groups.map(([group]) => group))) => H.chart(`By ${name}`,
  `What the training examples of each ${name} add up to: for the prediction's loss to fall (+), and to rise (−).`,
  (colour) => ({
    height: 20 * groups.length,
    data: { values: groups.flatMap(([, size, positive, negative], place) => [
      { group: names[place], size, side: "proponents (+)", sum: positive }, { group: names[place], size, side: "opponents (−)", sum: negative }]) },
    mark: { type: "bar", tooltip: { content: "data" } },
    encoding: {
      y: { field: "group", type: "nominal", sort: null, scale: { domain: names }, title: null, axis: { labelLimit: 140 } },
      x: { field: "sum", type: "quantitative", title: "sum of scores", axis: { tickCount: 5 } },
      color: { field: "side", type: "nominal", scale: { domain: ["proponents (+)", "opponents (−)"], range: [colour("--pro"), colour("--opp")] }, legend: {} },
    },
  }), [name, "examples", "positive", "negative"], groups);

H.chooseQuery = (place) => {
  chosen = place;
  list();
  const one = asked.explained[place];
  const truth = one.model === undefined ? "" : ` “${H.label(one.given)}”`;
  H.fill(H.get("explanation"),
    subject(one),
    H.el("p", { class: "quiet" }, `Scores are of the loss of${truth || " this query"}: training on a proponent lowers it, training on an opponent raises it.`),
    H.el("div", { class: "sides" },
      H.strip("Proponents (+)", "pro card", one.proponents, one.tokens, "None."),
      H.strip("Opponents (−)", "opp card", one.opponents, one.tokens, "None.")),
    Object.keys(one.tokens).length ? H.el("p", { class: "quiet" }, "Marked tokens carry the score of their text: a line below is (+), dots below are (−), and a deeper shade is more.") : null,
    H.el("div", { class: "charts" }, curve(one), ...Object.entries(one.shares).map(([name, groups]) => shares(one, name, groups))));
  H.drawCharts();
};
H.moveQuery = (steps) => {
  if (!asked || !asked.explained.length) return;
  H.chooseQuery(Math.max(0, Math.min(asked.explained.length - 1, chosen + steps)));
  H.get("queries").querySelectorAll("button")[chosen].focus();
};

H.startWhy = () => {
  if (asked && asked.explained.length) H.chooseQuery(0);
  else H.fill(H.get("why"), H.el("p", { class: "note" }, "No queries were given to this report, so no prediction is explained."));
};
