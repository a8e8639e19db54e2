// Charts by Vega-Lite, in the page's colours, each with its numbers as a table beside it.
const H = window.headwater;
const drawn = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const config = () => ({
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: colour("--quiet"), titleColor: colour("--quiet"), domainColor: colour("--line"),
    tickColor: colour("--line"), gridColor: colour("--line"), labelFontSize: 12, titleFontSize: 12,
    titleFontWeight: "normal",
  },
  legend: { labelColor: colour("--ink"), titleColor: colour("--quiet"), labelFontSize: 12, orient: "top", title: null },
  text: { fill: colour("--ink") },
});

// Names as charts can have them: Vega reads some as parts of expressions, in which no line may end.
// No two are alike, since they are places on an axis.
H.axisNames = (names) => {
  const taken = new Set();
  return names.map((name) => {
    let plain = String(name).replace(/[\u0000-\u001f\u2028\u2029]/g, " ");
    while (taken.has(plain)) plain += " ′";
    taken.add(plain);
    return plain;
  });
};

const draw = async (holder, make) => {
  if (!holder.isConnected || !holder.offsetWidth) return;
  drawn.get(holder)?.finalize();
  const spec = { width: "container", autosize: { type: "fit-x", contains: "padding" }, ...make(colour), config: config() };
  // The interpreter needs no functions made from texts, which the page's policy forbids.
  const result = await window.vegaEmbed(holder, spec, {
    actions: false, renderer: "svg", ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true }, logLevel: 1,
  });
  drawn.set(holder, result);
};

const waiting = [];
// Draws the charts that have come into view, since a hidden one has no width.
H.drawCharts = () => {
  for (const [holder, make] of waiting.splice(0)) {
    if (!holder.isConnected) continue;
    if (holder.offsetWidth) draw(holder, make).catch((error) => console.error(error));
    else waiting.push([holder, make]);
  }
};
H.onTheme.push(() => {
  for (const [holder, result] of [...drawn]) {
    drawn.delete(holder);
    result.finalize();
    if (holder.isConnected) waiting.push([holder, holder.make]);
  }
  H.drawCharts();
});

// A figure: what it shows in words, the chart, and its numbers.
H.chart = (title, words, make, head, rows, { open = false } = {}) => {
  const holder = H.el("div", { class: "chart" });
  holder.make = (pick) => ({ ...make(pick), description: `${title}. ${words}` });
  waiting.push([holder, holder.make]);
  const numbers = H.el("details", {}, H.el("summary", {}, "The numbers"));
  numbers.addEventListener("toggle", () => {
    if (numbers.open && !numbers.querySelector("table")) numbers.append(H.numbers(head, rows));
  });
  numbers.open = open;
  return H.el("figure", { class: "card" },
    H.el("figcaption", {}, H.el("h3", {}, title), words ? H.el("p", {}, words) : null), holder, numbers);
};

H.numbers = (head, rows) =>
  H.el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers of the chart" },
    H.el("table", { class: "numbers" },
      H.el("thead", {}, H.el("tr", {}, head.map((name) => H.el("th", { scope: "col" }, name)))),
      H.el("tbody", {}, rows.map((row) => H.el("tr", {}, row.map((value, place) =>
        H.el(place ? "td" : "th", place ? {} : { scope: "row" }, typeof value === "number" ? H.number(value) : String(value ?? "–"))))))));
