// Keys, so that a list is gone through without the mouse.
const H = window.headwater;

const decideAndMove = (act) => () => {
  if (H.state.chosen === null) return;
  const text = act(H.state.chosen);
  if (text === false) return;
  H.announce(`Example ${H.id(H.places[H.state.chosen])}: ${H.decisionText(H.places[H.state.chosen]) || "undecided"}`);
  if (text !== "stay") H.move(1);
};

const suspects = {
  ArrowDown: () => H.move(1), j: () => H.move(1),
  ArrowUp: () => H.move(-1), k: () => H.move(-1),
  n: () => H.turn(1), p: () => H.turn(-1),
  Home: () => H.move(-Infinity), End: () => H.move(Infinity),
  y: decideAndMove((row) => H.decide(H.places[row], "keep")),
  r: decideAndMove((row) => H.relabel(row)),
  d: decideAndMove((row) => H.decide(H.places[row], "drop")),
  u: decideAndMove((row) => { H.undecide(H.places[row]); return "stay"; }),
  l: () => H.get("new-label")?.focus(),
  "/": () => H.get("search").focus(),
};
const why = {
  ArrowDown: () => H.moveQuery(1), j: () => H.moveQuery(1),
  ArrowUp: () => H.moveQuery(-1), k: () => H.moveQuery(-1),
};
const everywhere = {
  1: () => H.showTab("suspects"), 2: () => H.showTab("why"), 3: () => H.showTab("overview"),
  "?": () => H.get("help").showModal(),
};

const explained = [
  ["j k or ↓ ↑", "next, previous"], ["n p", "next, previous page"], ["y", "keep, and go on"],
  ["r", "relabel as suggested, and go on"], ["l", "choose another label"], ["d", "drop, and go on"],
  ["u", "undo"], ["/", "search"], ["Esc", "from a field back to the list"], ["1 2 3", "parts of the report"], ["?", "these keys"],
];
H.fill(H.get("keys"), explained.map(([key, words]) => H.el("div", {}, H.el("dt", {}, key.split(" ").map((one) => (one === "or" ? " or " : H.el("kbd", {}, one)))), H.el("dd", {}, words))));
H.get("help-button").addEventListener("click", () => H.get("help").showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || H.get("help").open) return;
  const field = event.target.closest("input, select, textarea");
  if (field) {
    if (event.key === "Escape" && H.tab === "suspects") {
      field.blur();
      H.choose(H.state.chosen);
    }
    return;
  }
  // The arrows of the row of tabs are its own, and those of a region that scrolls too.
  const arrow = event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End";
  if (arrow && event.target.closest("[role=tablist], summary, .chart")) return;
  const own = H.tab === "suspects" ? suspects : H.tab === "why" ? why : {};
  const act = own[event.key] || everywhere[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
