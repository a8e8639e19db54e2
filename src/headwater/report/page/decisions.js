// What was decided about which example: kept in the browser under the data's fingerprint.
const H = window.headwater;
const key = `headwater-decisions-${H.record.data.fingerprint}`;
const verdicts = ["keep", "relabel", "drop"];

const byPlace = new Map();
H.onDecision = [];

const isLabel = (label) => Number.isInteger(label) || typeof label === "string";
const isDecision = (one) =>
  one !== null && typeof one === "object" && Number.isInteger(one.index) && one.index >= 0 &&
  one.index < H.data.count && verdicts.includes(one.decision) &&
  (one.decision === "relabel" ? isLabel(one.label) : (one.label ?? null) === null);

const file = () => ({
  format: "headwater-decisions",
  version: 1,
  data: H.record.data.fingerprint,
  decisions: [...byPlace.values()].sort((one, other) => one.index - other.index),
});

const save = () => {
  const kept = H.remember(key, byPlace.size ? JSON.stringify(file()) : null);
  const note = H.get("storage-note");
  note.hidden = kept;
  if (!kept) {
    note.textContent = "This browser keeps nothing for pages opened from disk: export your " +
      "decisions before you close the page.";
  }
  for (const changed of H.onDecision) changed();
};

const take = (decisions) => {
  let taken = 0;
  for (const one of decisions) {
    if (!isDecision(one)) continue;
    const { index, decision } = one;
    byPlace.set(index, { index, id: idOf(index, one.id), decision, label: one.label ?? null });
    taken += 1;
  }
  return taken;
};
const idOf = (place, fallback) => (H.position.has(place) ? H.id(place) : fallback ?? null);

H.decisions = byPlace;
H.decide = (place, decision, label = null) => {
  byPlace.set(place, { index: place, id: idOf(place), decision, label });
  save();
};
H.undecide = (place) => {
  byPlace.delete(place);
  save();
};
H.decisionText = (place) => {
  const one = byPlace.get(place);
  if (!one) return "";
  if (one.decision === "relabel") return `✎ ${H.label(one.label)}`;
  return one.decision === "keep" ? "✓ keep" : "✕ drop";
};

const download = (name, type, text) => {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = H.el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
};
const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
H.get("export-json").addEventListener("click", () => {
  download("decisions.json", "application/json", `${JSON.stringify(file(), null, 1)}\n`);
});
H.get("export-csv").addEventListener("click", () => {
  const lines = file().decisions.map((one) => [one.index, one.id, one.decision, one.label].map(cell).join(","));
  download("decisions.csv", "text/csv", `${["index,id,decision,label", ...lines].join("\r\n")}\r\n`);
});
H.get("import-file").addEventListener("change", async (event) => {
  const chosen = event.target.files[0];
  event.target.value = "";
  if (!chosen) return;
  try {
    const read = JSON.parse(await chosen.text());
    if (read.format !== "headwater-decisions" || !Array.isArray(read.decisions)) throw new Error();
    if (read.data && read.data !== H.record.data.fingerprint) {
      alert(`${chosen.name} is about other training data than this report.`);
      return;
    }
    const taken = take(read.decisions);
    save();
    const left = read.decisions.length - taken;
    H.announce(`${H.count(taken, "decision")} loaded`);
    if (left) alert(`${left} of ${read.decisions.length} decisions can't be meant and were left out.`);
  } catch {
    alert(`${chosen.name} isn't a file of decisions in JSON.`);
  }
});
H.get("forget").addEventListener("click", () => {
  if (byPlace.size && confirm(`Forget ${H.count(byPlace.size, "decision")}?`)) {
    byPlace.clear();
    save();
  }
});

try {
  const kept = JSON.parse(H.recall(key) || "null");
  if (kept && Array.isArray(kept.decisions)) take(kept.decisions);
} catch {
  // What another version left here isn't ours to read.
}
