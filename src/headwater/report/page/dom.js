// Everything from data goes into the page as text, never as HTML.
const H = (window.headwater = {});

H.get = (id) => document.getElementById(id);

// An element: el("p", { class: "x", onclick: f, hidden: true }, "text", other, ...).
H.el = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return made;
};

H.svg = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
};

H.fill = (parent, ...children) => parent.replaceChildren(...children.flat().filter(Boolean));

H.number = (value, digits = 3) => {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1).replace("-", "−");
  if (size >= 1000) return Math.round(value).toLocaleString("en").replace("-", "−");
  return Number(value.toPrecision(digits)).toString().replace("-", "−");
};

H.signed = (value) => (value > 0 ? "+" : "") + H.number(value);
H.percent = (share, digits = 0) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`);
H.count = (value, noun, many = `${noun}s`) => `${value.toLocaleString("en")} ${value === 1 ? noun : many}`;
H.announce = (text) => { H.get("announced").textContent = text; };
