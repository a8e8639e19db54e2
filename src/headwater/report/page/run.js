// What was found, and the record of the run that it was found in.
const H = window.headwater;
H.data = JSON.parse(H.get("data").textContent);
H.record = JSON.parse(H.get("record").textContent);

H.position = new Map(H.data.shown.place.map((place, position) => [place, position]));
H.row = new Map(H.data.shown.place.slice(0, H.data.onPage).map((place, row) => [place, row]));
H.id = (place) => H.data.shown.id[H.position.get(place)];
H.given = (place) => H.data.shown.given[H.position.get(place)];
H.entry = (place) => H.data.shown.entry[H.position.get(place)];
// A label in words: a class by its name, a number as it is.
H.label = (value) => {
  if (value === null || value === undefined) return "–";
  if (H.data.classes) return H.data.classes[value] ?? String(value);
  return typeof value === "number" ? H.number(value, 4) : String(value);
};

document.body.classList.add(`of-${H.data.kind}`);
const method = H.record.method;
H.get("facts").textContent = [
  H.count(H.data.count, "training example"),
  H.count(H.data.checkpoints.length, "checkpoint"),
  `${method.name} on ${H.record.model.class}`,
  H.record.created.slice(0, 10),
].join(" · ");
