// The three parts of the report, of which one is shown.
const H = window.headwater;
const names = ["suspects", "why", "overview"];
const starts = { why: H.startWhy, overview: H.startOverview };

H.showTab = (name, { focus = false } = {}) => {
  H.tab = name;
  for (const one of names) {
    const tab = H.get(`tab-${one}`);
    tab.setAttribute("aria-selected", one === name ? "true" : "false");
    tab.tabIndex = one === name ? 0 : -1;
    H.get(one).hidden = one !== name;
  }
  if (focus) H.get(`tab-${name}`).focus();
  // Made when they are first looked at: most of the page's work is in the charts.
  if (starts[name]) {
    starts[name]();
    delete starts[name];
  }
  H.drawCharts();
  // No element has such a name, so that the browser doesn't scroll to it.
  history.replaceState(null, "", `#part-${name}`);
};

for (const name of names) H.get(`tab-${name}`).addEventListener("click", () => H.showTab(name));
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!steps) return;
  event.preventDefault();
  H.showTab(names[(names.indexOf(H.tab) + steps + names.length) % names.length], { focus: true });
});

H.start();
const asked = () => names.find((name) => location.hash === `#part-${name}`);
addEventListener("hashchange", () => H.showTab(asked() ?? H.tab));
H.showTab(asked() ?? "suspects");
