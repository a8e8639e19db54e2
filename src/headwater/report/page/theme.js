// Light or dark: as the system has it, or as chosen here.
const H = window.headwater;
const key = "headwater-theme";
const choice = H.get("theme");

H.remember = (name, value) => {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
    return true;
  } catch {
    return false;
  }
};
H.recall = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};

H.onTheme = [];
const show = (theme) => {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  for (const redraw of H.onTheme) redraw();
};
choice.value = H.recall(key) || "auto";
show(choice.value);
choice.addEventListener("change", () => {
  H.remember(key, choice.value);
  show(choice.value);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(choice.value));
