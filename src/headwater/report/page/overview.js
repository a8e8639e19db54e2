// Figures of the whole run, and the record that it can be cited by.
const H = window.headwater;
const found = H.data.overview;

const spread = () => {
  const { bins, zero } = found.histogram;
  const known = found.wrong !== null;
  const right = "label is right";
  const wrong = "label is wrong";
  return H.chart("Self-influence of all training examples",
    `High where only an example's own gradient could teach it.${zero ? ` ${H.count(zero, "example")} with none at all aren't drawn.` : ""}`,
    (colour) => ({
      height: 170,
      data: { values: bins.flatMap((bin) => known
        ? [{ ...bin, kind: right, examples: bin.count - bin.wrong, bottom: 0, top: bin.count - bin.wrong },
          { ...bin, kind: wrong, examples: bin.wrong, bottom: bin.count - bin.wrong, top: bin.count }]
        : [{ ...bin, kind: "any", examples: bin.count, bottom: 0, top: bin.count }]) },
      mark: { type: "rect", tooltip: true, stroke: colour("--card"), strokeWidth: 0.5 },
      encoding: {
        x: { field: "low", type: "quantitative", scale: { type: "log" }, title: "self-influence (logarithmic)", axis: { tickCount: 6, format: "~g", grid: false } },
        x2: { field: "high" },
        y: { field: "bottom", type: "quantitative", title: "examples" },
        y2: { field: "top" },
        tooltip: ["low", "high", "examples", "kind"].map((field) => ({ field, type: typeof bins[0]?.[field] === "string" || field === "kind" ? "nominal" : "quantitative", format: field === "kind" ? undefined : ".3~g" })),
        color: known ? { field: "kind", type: "nominal", scale: { domain: [right, wrong], range: [colour("--accent"), colour("--opp")] }, legend: {} } : { value: colour("--accent") },
      },
    }), ["from", "to", "examples", ...(known ? ["of these wrong"] : [])],
    bins.map((bin) => [bin.low, bin.high, bin.count, ...(known ? [bin.wrong] : [])]));
};

const dashes = [[1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4], [3, 3]];
const inks = ["--accent", "--opp", "--third", "--fourth", "--quiet", "--ink"];
// Up to here the curves are drawn: where all have found nearly everything there is nothing to see.
const upTo = () => Math.max(...found.curves.map((one) => one.checked[one.found.findIndex((share) => share >= 0.995)] ?? 1), 0.2);
const curves = () => {
  if (!found.curves) return null;
  const names = H.axisNames(found.curves.map((one) => one.name));
  return H.chart("Wrong labels found, by how much is checked",
    `${H.count(found.wrong, "label")} are known to be wrong. Check the ranking from the top: how many have turned up?`,
    (colour) => ({
      height: 180,
      data: { values: found.curves.flatMap((one, number) => one.checked.map((checked, place) => ({ ranking: names[number], checked, found: one.found[place] })).filter((point) => point.checked <= upTo())) },
      mark: { type: "line", strokeWidth: 2.5, tooltip: true },
      encoding: {
        x: { field: "checked", type: "quantitative", title: "checked", axis: { format: "%", grid: false } },
        y: { field: "found", type: "quantitative", title: "found", axis: { format: "%", tickCount: 5 } },
        color: { field: "ranking", type: "nominal", scale: { domain: names, range: names.map((_, place) => colour(inks[place % inks.length])) }, legend: { columns: 2, symbolType: "stroke", symbolSize: 300 } },
        strokeDash: { field: "ranking", type: "nominal", scale: { domain: names, range: names.map((_, place) => dashes[place % dashes.length]) }, legend: {} },
      },
    }), ["ranking", "AUROC", "found at 10 %", "found at 20 %"],
    found.curves.map((one) => [one.name, one.auroc === null ? "–" : one.auroc.toFixed(3), H.percent(one.at[0], 1), H.percent(one.at[1], 1)]), { open: true });
};

const heat = () => {
  if (!found.heat) return null;
  const { means } = found.heat;
  const queries = H.axisNames(found.heat.queries);
  const examples = H.axisNames(found.heat.examples);
  const cells = queries.flatMap((query, row) => examples.map((example, place) => ({ query, example, mean: means[row][place] })));
  const largest = Math.max(...cells.map((cell) => Math.abs(cell.mean))) || 1;
  return H.chart("From class to class",
    `Mean score of a training example of one class on a query of another, over ${H.count(H.data.queries.count, "query", "queries")}. Blue (+) lowers the query's loss, orange (−) raises it.`,
    (colour) => ({
      height: queries.length * Math.max(18, Math.min(30, 360 / queries.length)),
      data: { values: cells },
      encoding: {
        x: { field: "example", type: "nominal", sort: null, scale: { domain: examples }, title: "training examples of class", axis: { labelAngle: examples.some((name) => name.length > 3) ? -45 : 0, orient: "bottom" } },
        y: { field: "query", type: "nominal", sort: null, scale: { domain: queries }, title: "queries of class" },
      },
      layer: [
        { mark: { type: "rect", tooltip: { content: "data" } },
          encoding: { color: { field: "mean", type: "quantitative", legend: { title: "mean score", gradientLength: 160 }, scale: { interpolate: "rgb", domain: [-largest, 0, largest], range: [colour("--opp"), colour("--card"), colour("--pro")] } } } },
        ...(queries.length * examples.length <= 144 ? [{
          mark: { type: "text", fontSize: 11, color: colour("--ink") },
          encoding: { text: { field: "mean", type: "quantitative", format: ".2~g" },
            color: { condition: { test: `abs(datum.mean) > ${0.6 * largest}`, value: colour("--card") }, value: colour("--ink") } } }] : []),
      ],
    }), ["queries of", ...examples], queries.map((query, row) => [query, ...means[row]]));
};

const checkpoints = () => {
  if (found.measured === null) return null;
  const rows = found.checkpoints;
  const names = H.axisNames(rows.map((one) => one.name));
  return H.chart("What each checkpoint contributes",
    `Shares of self-influence, on ${H.count(found.measured, "training example")} at even distances.`,
    (colour) => ({
      height: 24 * rows.length,
      data: { values: rows.map((one, place) => ({ checkpoint: names[place], share: one.share, loss: one.loss, words: H.percent(one.share, 1) })) },
      encoding: { y: { field: "checkpoint", type: "nominal", sort: null, scale: { domain: names }, title: null, axis: { labelLimit: 160 } }, x: { field: "share", type: "quantitative", title: "share of self-influence", axis: { format: "%", tickCount: 5 } } },
      layer: [
        { mark: { type: "bar", color: colour("--accent"), tooltip: { content: "data" } } },
        { mark: { type: "text", align: "left", dx: 5, fontSize: 12 }, encoding: { text: { field: "words", type: "nominal" } } },
      ],
    }), ["checkpoint", "rate", "mean loss", "label is likeliest", "share"],
    rows.map((one) => [one.name, one.rates.map((rate) => H.number(rate)).join(", "), one.loss, H.percent(one.right, 1), H.percent(one.share, 1)]));
};

const ranking = () => (H.data.notes.length
  ? H.el("section", { class: "card provenance" }, H.el("h3", {}, "How the suspects were found"),
    H.el("ul", {}, H.data.notes.map((note) => H.el("li", {}, note))))
  : null);

const fact = (name, value) => H.el("div", {}, H.el("dt", {}, name), H.el("dd", {}, value));
const record = () => {
  const { record } = H;
  const whole = JSON.stringify(record, null, 2);
  return H.el("section", { class: "card provenance" }, H.el("h3", {}, "What this report was made of"),
    H.el("dl", { class: "facts" },
      fact("Model", `${record.model.class}, ${record.model.parameters.toLocaleString("en")} parameters`),
      fact("Method", record.method.name), fact("Loss", record.method.loss.split(/[ (]/)[0]),
      fact("Training examples", record.data.examples.toLocaleString("en")),
      fact("Checkpoints", String(record.checkpoints.length)),
      fact("Made", record.created), fact("headwater", record.headwater), fact("PyTorch", record.torch),
      fact("Data", H.el("code", {}, record.data.every_example.slice(0, 16))),
      fact("Record (SHA-256)", H.el("code", {}, record.sha256.slice(0, 16)))),
    H.el("p", {}, "“headwater report --verify” on this file says whether its record and its numbers are as they were written; with the attribution file, whether that is still the same run."),
    H.el("div", { class: "exports" },
      H.el("button", { type: "button", onclick: (event) => copy(event.target, H.get("citation").textContent) }, "Copy the citation"),
      H.el("button", { type: "button", onclick: (event) => copy(event.target, whole) }, "Copy the record")),
    H.el("details", {}, H.el("summary", {}, "The record, as JSON"), H.el("pre", { id: "record-text", tabindex: 0 }, whole)));
};
const copy = async (button, text) => {
  try {
    await navigator.clipboard.writeText(text);
    H.announce("Copied");
    button.textContent = "Copied";
  } catch {
    // Pages from disk have no clipboard in some browsers; the text is there to be selected.
    button.textContent = "Not allowed here: select the text below";
  }
};

H.startOverview = () => H.fill(H.get("overview"), H.el("h2", { class: "away" }, "Overview"),
  H.el("div", { class: "charts" }, spread(), curves(), heat(), checkpoints()), ranking(), record());
