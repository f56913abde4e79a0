// Figures: plotly specifications whose colours are roles, drawn when they come into view, in the theme of the page.
const styles = JSON.parse(document.getElementById("styles").textContent);
const figureSpecs = JSON.parse(document.getElementById("figures").textContent);

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function roleColour(role, theme) {
  return role === "ink" || role === "soft" ? cssColour(`--${role}`) : styles.roles[role][theme];
}

// "role:top" is the role's colour, "role:top:0.25" the same with an opacity, "scale:density" a colour scale.
function resolveColour(text, theme) {
  if (text.startsWith("scale:")) {
    const colours = styles.scales[text.slice(6)][theme];
    return colours.map((colour, place) => [place / (colours.length - 1), colour]);
  }
  const [, role, opacity] = text.split(":");
  const colour = roleColour(role, theme);
  if (opacity === undefined) return colour;
  const [r, g, b] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return `rgba(${r},${g},${b},${opacity})`;
}

function themed(value, theme) {
  if (typeof value === "string") return /^(role|scale):/.test(value) ? resolveColour(value, theme) : value;
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((one) => themed(one, theme));
  if (value === null || typeof value !== "object") return value;
  const made = {};
  for (const key of Object.keys(value)) {
    // Data are never colours: a label that looks like one is a label.
    made[key] = ["x", "y", "z", "text", "ticktext", "customdata", "name"].includes(key) ? value[key] : themed(value[key], theme);
  }
  return made;
}

// A text in lines that fit a width in pixels, for characters of a mean width.
function wrapped(text, width, character) {
  const most = Math.max(12, Math.floor(width / character)), lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line && unescaped(line).length + 1 + unescaped(word).length > most) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

// The width at which the numbers in the cells of a matrix do not overlap; 0 for other panels. A screen that is narrower
// scrolls within the panel; on paper the numbers are left to the table.
function widthOf(spec) {
  const matrix = spec.data.find((trace) => trace.texttemplate);
  if (!matrix) return 0;
  const longest = (texts) => Math.max(0, ...(texts || []).map((text) => text.length));
  return 120 + 6.6 * longest(spec.layout.yaxis.ticktext) + matrix.x.length * 6 * longest(matrix.text.flat());
}

function layoutFor(spec, theme, width) {
  const ink = cssColour("--ink"), muted = cssColour("--muted"), line = cssColour("--line"), card = cssColour("--card");
  const axis = {
    gridcolor: line, zeroline: false, linecolor: muted, tickcolor: muted, automargin: true, ticks: "outside", ticklen: 4,
    title: { font: { size: 12.5 }, standoff: 8 }, tickfont: { size: 11.5 },
  };
  const layout = themed(spec.layout, theme);
  for (const name of ["xaxis", "yaxis"]) {
    const own = layout[name];
    layout[name] = { ...axis, ...own, title: { ...axis.title, ...own.title } };
  }
  const lines = layout.title ? wrapped(layout.title.text, width - 24, 7.4) : [];
  // Rows of panels are to fit a sheet of paper; slanted names need their room, and so do those of rows.
  const slanted = layout.xaxis.tickangle < 0, rows = spec.named && spec.named.y ? layout.yaxis.ticktext.length : 0;
  const height = (printing && !slanted ? Math.max(215, 96 + 15 * rows, spec.height > PANEL ? 0.72 * spec.height : 0) : spec.height) + 17 * Math.max(0, lines.length - 1);
  const title = layout.title ? { ...layout.title, text: lines.join("<br>"), font: { size: 13.5 }, x: 0.02, xanchor: "left", y: 1, yanchor: "top", pad: { t: 12 } } : undefined;
  const top = title ? 27 + 17 * lines.length : 26;
  // What names an axis has no more room than the axis is long; names of rows take theirs from the other one.
  const names = Math.max(0, ...(layout.yaxis.ticktext || []).map((text) => unescaped(text).length));
  const across = wrapped(layout.xaxis.title.text, width - 24 - Math.max(56, 6.6 * names), 7), upright = wrapped(layout.yaxis.title.text, height - top - 50, 7);
  layout.xaxis.title.text = across.join("<br>");
  layout.yaxis.title.text = upright.join("<br>");
  return {
    ...layout, title, showlegend: false, paper_bgcolor: card, plot_bgcolor: card, font: { color: ink, family: cssColour("--sans"), size: 12 },
    margin: { l: 56, r: 18, t: top, b: 50 + 15 * (across.length - 1) }, height, hovermode: "closest",
    hoverlabel: { bgcolor: card, bordercolor: muted, font: { color: ink, size: 12 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
  };
}

const PANEL = 330; // height of a panel whose axes are numbers

const plotConfig = {
  displaylogo: false, responsive: true, showTips: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toImage"],
};

function drawPlot(host, spec, label) {
  host.spec = spec;
  host.setAttribute("role", "group"); // not an image, whose parts nobody could reach: it has buttons
  host.setAttribute("aria-label", label);
  const theme = currentTheme();
  // plotly keeps the width that it has once drawn in.
  if (host.drawnWidth && host.drawnWidth !== host.clientWidth) Plotly.purge(host);
  host.drawnWidth = host.clientWidth;
  host.drawnIn = theme;
  const data = themed(spec.data, theme), width = Math.max(host.clientWidth, printing ? 0 : widthOf(spec));
  // A bar to scroll with only where the figure is wider than its place.
  host.style.overflowX = width > host.clientWidth ? "auto" : "hidden";
  if (widthOf(spec) > width) data.forEach((trace) => delete trace.texttemplate);
  return Plotly.react(host, data, { ...layoutFor(spec, theme, width), width: width > host.clientWidth ? width : undefined }, plotConfig);
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined) made.append(child);
  return made;
}

const SYMBOLS = {
  circle: "M15 3a4 4 0 1 0 .01 0z", "circle-open": "M15 3a4 4 0 1 0 .01 0z", square: "M11 3h8v8h-8z",
  diamond: "M15 2l5 5-5 5-5-5z", "triangle-down": "M10.5 3.5h9l-4.5 8z", "triangle-up": "M10.5 10.5h9l-4.5-8z",
  x: "M11 3l8 8M19 3l-8 8", cross: "M15 2v10M10 7h10", star: "M15 1.5l1.6 3.7 4 .4-3 2.7.9 3.9-3.5-2-3.5 2 .9-3.9-3-2.7 4-.4z",
};
const DASHES = { solid: "", dot: "2 2.5", dash: "6 3", dashdot: "6 2.5 2 2.5", longdash: "9 3" };

function swatch(role, trace) {
  const style = styles.roles[role], space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 30 14");
  svg.setAttribute("aria-hidden", "true");
  const colour = roleColour(role, currentTheme());
  const add = (tag, attributes) => {
    const part = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    svg.append(part);
  };
  if (trace.fill) add("path", { d: "M5 12V7h7V3h6v4h7v5z", fill: colour, "fill-opacity": 0.25, stroke: colour });
  else {
    if ((trace.mode || "").includes("lines")) add("path", { d: "M1 7h28", stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[style.dash] });
    if ((trace.mode || "").includes("markers")) {
      const open = ["circle-open", "x", "cross"].includes(style.symbol);
      add("path", { d: SYMBOLS[style.symbol], fill: open ? "none" : colour, stroke: colour, "stroke-width": open ? 2 : 0.5 });
    }
  }
  return svg;
}

// Plotly's labels are HTML-escaped where they come from; the legend shows them as text.
function unescaped(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&#36;", "$").replaceAll("&amp;", "&");
}

function drawLegend(host, plots) {
  const seen = new Map();
  for (const plot of plots) {
    for (const trace of plot.spec.data) if (trace.type !== "heatmap" && !seen.has(trace.name)) seen.set(trace.name, trace);
  }
  host.replaceChildren();
  if (seen.size < 2 && plots.length && !plots[0].spec.data.some((trace) => trace.type === "heatmap")) return;
  for (const [name, trace] of seen) {
    const button = element("button", { type: "button", "aria-pressed": String(trace.visible !== false) }, swatch(trace.meta.role, trace), unescaped(name));
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const plot of plots) {
        for (const one of plot.spec.data) if (one.name === name) one.visible = shown;
        drawPlot(plot, plot.spec, plot.getAttribute("aria-label"));
      }
    });
    host.append(button);
  }
}

// Draws a figure of the report into its place; a second call draws it anew, for another theme or width.
function drawFigure(place) {
  const spec = figureSpecs[place.dataset.figure];
  const host = place.querySelector(".plots");
  const label = place.querySelector("figcaption").textContent.trim();
  if (!host.childElementCount) spec.forEach(() => host.append(element("div")));
  const plots = [...host.children];
  plots.forEach((plot, number) => drawPlot(plot, spec[number], label));
  const legend = place.querySelector(".legend");
  drawLegend(legend, plots);
  saveButtons(place.querySelector(".save"), place.dataset.figure, plots, legend);
  place.dataset.drawn = currentTheme();
}

function drawFigures(root) {
  if (!window.Plotly) return; // it stands behind the tables in the file, so that they need not wait for it
  for (const place of root.querySelectorAll("figure[data-figure]")) if (place.dataset.drawn !== currentTheme()) drawFigure(place);
  for (const plot of root.querySelectorAll(".lone")) {
    if (plot.drawnIn === currentTheme()) continue;
    drawPlot(plot, plot.spec, plot.label);
    drawLegend(plot.legend, [plot]);
  }
}
