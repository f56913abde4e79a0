// Tabs, links and themes.
const THEMES = ["auto", "light", "dark"];
const darkness = matchMedia("(prefers-color-scheme: dark)");
let wanted = "auto", printing = false;

function currentTheme() {
  if (printing) return "light";
  return wanted === "auto" ? (darkness.matches ? "dark" : "light") : wanted;
}

function applyTheme() {
  document.documentElement.dataset.theme = currentTheme();
  const open = document.querySelector(".panel:not([hidden])");
  if (open) drawFigures(open);
}

function openSection(key, { focus = false } = {}) {
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    const chosen = tab.id === `tab-${key}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen) {
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      if (focus) tab.focus();
    }
  }
  const panel = document.getElementById(`panel-${key}`);
  drawFigures(panel);
  drawTables(panel);
}

// What an address means; one that means nothing, such as "%", stands for itself.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// #scan opens a section, #neuron=3.17 a neuron's page, #neuron=3.17&run=2 that of the second run.
function route() {
  const text = decoded(location.hash.slice(1));
  const neuron = /^neuron=([\w.]+)(?:&run=(\d+))?$/.exec(text);
  if (neuron && explorer) {
    openSection("neurons");
    explorer.open(neuron[1], neuron[2] ? Number(neuron[2]) - 1 : 0);
    return;
  }
  const list = /^neurons(?:&run=(\d+))?$/.exec(text);
  if (list && explorer) {
    openSection("neurons");
    explorer.list(list[1] ? Number(list[1]) - 1 : 0);
    return;
  }
  const target = text && document.getElementById(text);
  const panel = target && target.closest(".panel");
  if (panel && !text.startsWith("panel-")) {
    openSection(panel.id.slice(6));
    target.scrollIntoView();
    return;
  }
  openSection(document.getElementById(`panel-${text}`) ? text : document.querySelector(".panel").id.slice(6));
}

function onTabKey(event) {
  const tabs = [...document.querySelectorAll('[role="tab"]')], place = tabs.indexOf(event.target);
  const next = { ArrowDown: place + 1, ArrowRight: place + 1, ArrowUp: place - 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (place < 0 || next === undefined) return;
  event.preventDefault();
  const tab = tabs[(next + tabs.length) % tabs.length];
  goTo(tab.id.slice(4));
  tab.focus();
}

function goTo(key) {
  if (location.hash === `#${key}`) route();
  else location.hash = key;
}

// The paper is narrower than the screen: figures take their width from the page that they are laid out on.
function redrawFigures(panel) {
  for (const place of panel.querySelectorAll("figure[data-figure]")) delete place.dataset.drawn;
  for (const plot of panel.querySelectorAll(".lone")) delete plot.drawnIn;
  drawFigures(panel);
}

function printTables(panel, printing) {
  for (const place of panel.querySelectorAll(".grid")) if (place.grid) place.grid.print(printing);
}

function beforePrint() {
  if (printing) return;
  printing = true;
  document.documentElement.dataset.theme = "light";
  document.documentElement.classList.add("printing");
  if (explorer && !explorer.listing) explorer.list(0);
  for (const panel of document.querySelectorAll(".panel")) {
    panel.dataset.was = panel.hidden ? "hidden" : "shown";
    panel.hidden = false;
    drawTables(panel);
    printTables(panel, true);
    redrawFigures(panel);
  }
}

function afterPrint() {
  if (!printing) return;
  printing = false;
  document.documentElement.classList.remove("printing");
  for (const panel of document.querySelectorAll(".panel")) {
    panel.hidden = panel.dataset.was === "hidden";
    for (const place of panel.querySelectorAll("figure[data-figure]")) delete place.dataset.drawn;
    printTables(panel, false);
  }
  applyTheme();
}

const explorer = document.getElementById("explorer") ? new Explorer(document.getElementById("explorer")) : null;

document.querySelector('[role="tablist"]').addEventListener("keydown", onTabKey);
for (const tab of document.querySelectorAll('[role="tab"]')) tab.addEventListener("click", () => goTo(tab.id.slice(4)));
// Followed as a link, it would change the address, which says what is open.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
document.getElementById("theme").addEventListener("click", (event) => {
  wanted = THEMES[(THEMES.indexOf(wanted) + 1) % THEMES.length];
  event.target.textContent = `Theme: ${wanted}`;
  applyTheme();
});
document.getElementById("print").addEventListener("click", () => window.print());
darkness.addEventListener("change", applyTheme);
addEventListener("hashchange", route);
addEventListener("beforeprint", beforePrint);
addEventListener("afterprint", afterPrint);
document.documentElement.dataset.theme = currentTheme();
route();
addEventListener("DOMContentLoaded", () => {
  drawFigures(document.querySelector(".panel:not([hidden])"));
  document.documentElement.dataset.ready = "yes";
});
