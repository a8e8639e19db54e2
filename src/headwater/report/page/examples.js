// One training example or query as a person sees it.
const H = window.headwater;

H.picture = (entry, name, size) => {
  if (H.data.kind === "images") {
    return H.el("img", { src: entry, alt: name, class: `picture ${size}`, draggable: "false" });
  }
  if (H.data.kind === "text") return H.el("p", { class: `text ${size}` }, entry);
  return size === "large" ? numbers(entry) : H.el("p", { class: `text ${size}` }, brief(entry));
};

const numbers = (row) =>
  H.el("dl", { class: "features" }, row.map((value, place) =>
    H.el("div", {}, H.el("dt", {}, H.data.features[place]), H.el("dd", {}, H.number(value, 4)))));

// The three numbers of a row that are furthest from usual on this page.
const brief = (row) =>
  row.map((value, place) => [place, (value - usual().mean[place]) / usual().spread[place]])
    .sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]))
    .slice(0, 3)
    .map(([place, off]) => `${H.data.features[place]} ${H.number(row[place], 4)} (${off > 0 ? "high" : "low"})`)
    .join(", ");

let found = null;
const usual = () => {
  if (found) return found;
  const rows = H.data.shown.entry;
  const mean = H.data.features.map((_, place) => rows.reduce((sum, row) => sum + row[place], 0) / rows.length);
  const spread = mean.map((middle, place) =>
    Math.sqrt(rows.reduce((sum, row) => sum + (row[place] - middle) ** 2, 0) / rows.length) || 1);
  found = { mean, spread };
  return found;
};

// A training example among the proponents or opponents of another, with its score.
H.influential = ([place, score], largest, tokens) => {
  const share = Math.min(1, Math.abs(score) / (largest || 1));
  const side = score > 0 ? "pro" : "opp";
  const content = tokens ? H.highlighted(tokens) : H.picture(H.entry(place), `training example ${H.id(place)}`, "small");
  const given = H.given(place);
  const label = given === null ? null : H.el("b", {}, H.label(given));
  const bar = H.el("span", { class: `bar ${side}`, "aria-hidden": "true" });
  bar.style.setProperty("--share", `${100 * share}%`);
  const jump = H.row.has(place)
    ? H.el("button", { type: "button", class: "link", title: "Show among the suspects", onclick: () => H.jumpTo(place) }, `#${H.id(place)}`)
    : H.el("span", {}, `#${H.id(place)}`);
  return H.el("li", {}, content, H.el("div", { class: "said" }, ...(label ? [label] : []), jump, H.el("span", { class: `score ${side}` }, H.signed(score)), bar));
};

H.strip = (title, side, pairs, tokens, none) => {
  const largest = pairs.length ? Math.abs(pairs[0][1]) : 1;
  return H.el("section", { class: `strip ${side}` }, H.el("h3", {}, title),
    pairs.length
      ? H.el("ol", { class: `influences ${H.data.kind}` }, pairs.map((pair) => H.influential(pair, largest, tokens?.[pair[0]])))
      : H.el("p", { class: "quiet" }, none));
};

// A text whose tokens are marked by what they add to its score: + above, − below, size by shade.
H.highlighted = (tokens) => {
  const largest = Math.max(...tokens.map(([, score]) => Math.abs(score)), 1e-30);
  return H.el("p", { class: "text tokens" }, tokens.map(([word, score]) => {
    const share = Math.abs(score) / largest;
    const mark = H.el("span", { class: share < 0.08 ? "" : score > 0 ? "pro" : "opp", title: H.signed(score) }, word);
    mark.style.setProperty("--share", `${Math.round(100 * share)}%`);
    return mark;
  }).flatMap((one) => ["\u200b", one]));
};

// How sure the model is of the given label, from the first checkpoint to the last.
H.spark = (path, wide) => {
  const width = wide ? 260 : 64;
  const height = wide ? 84 : 22;
  const left = wide ? 34 : 2;
  const x = (place) => (path.length > 1 ? left + (place * (width - left - 4)) / (path.length - 1) : width / 2);
  const y = (share) => height - 2 - share * (height - 4);
  const points = path.map((share, place) => `${x(place).toFixed(1)},${y(share).toFixed(1)}`);
  const words = `Probability of the given label by checkpoint: ${path.map((share) => H.percent(share)).join(", ")}`;
  const picture = H.svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: `spark${wide ? " wide" : ""}`, role: "img", "aria-label": words },
    H.svg("line", { x1: 0, x2: width, y1: y(0.5), y2: y(0.5), class: "half" }),
    H.svg("polyline", { points: points.join(" ") }));
  if (wide) for (const share of [1, 0.5, 0]) picture.append(H.svg("text", { x: 0, y: y(share) + (share === 1 ? 9 : -3) }, `${100 * share} %`));
  for (const [place, share] of path.entries()) {
    if (wide || place === path.length - 1) picture.append(H.svg("circle", { cx: x(place), cy: y(share), r: wide ? 3 : 2 }));
  }
  return picture;
};
