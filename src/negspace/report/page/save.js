// Files that the page hands out: tables and figures' data as CSV, figures as SVG and PNG as they are seen.
const PIXELS = 3; // pixels of a PNG for each pixel of the screen
const GAP = 10; // between the panels of a saved figure

function saveAs(blob, file) {
  const link = element("a", { href: URL.createObjectURL(blob), download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function saveRows(name, header, rows) {
  const quoted = (value) => {
    const text = missing(value) ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [header, ...rows].map((row) => row.map(quoted).join(","));
  saveAs(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }), `${name}.csv`);
}

// Buttons that save a figure: `plots` are its panels, `legend` the place of its legend.
function saveButtons(host, name, plots, legend) {
  const kinds = {
    PNG: async () => saveAs(await pictureOf(await drawingOf(plots, legend)), `${name}.png`),
    SVG: async () => saveAs(new Blob([(await drawingOf(plots, legend)).text], { type: "image/svg+xml" }), `${name}.svg`),
    CSV: () => saveData(name, plots.map((plot) => plot.spec)),
  };
  host.replaceChildren(...Object.entries(kinds).map(([kind, save]) => {
    const button = element("button", { type: "button", title: kind === "CSV" ? "Save the figure's data" : "Save the figure" }, kind);
    button.addEventListener("click", save);
    return button;
  }));
}

// One SVG of all panels where they stand on the screen, with the legend above them.
async function drawingOf(plots, legend) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  const add = (tag, attributes, text) => {
    const part = document.createElementNS(space, tag);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    if (text !== undefined) part.textContent = text;
    svg.append(part);
    return part;
  };
  const boxes = plots.map((plot) => ({ left: plot.offsetLeft, top: plot.offsetTop, width: plot.layout.width || plot.clientWidth, height: plot.layout.height }));
  const left = Math.min(...boxes.map((box) => box.left)), top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.left - left + box.width));
  const ground = add("rect", { width: "100%", height: "100%", fill: cssColour("--card") });
  const used = drawKey(add, legend, width), font = cssColour("--sans");
  for (const [number, plot] of plots.entries()) {
    const text = await Plotly.toImage(plot, { format: "svg", width: boxes[number].width, height: boxes[number].height, imageDataOnly: true });
    const panel = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    panel.setAttribute("x", boxes[number].left - left);
    panel.setAttribute("y", used + boxes[number].top - top);
    svg.append(document.adoptNode(panel));
  }
  const height = used + Math.max(...boxes.map((box) => box.top - top + box.height));
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}`, "font-family": font })) svg.setAttribute(key, value);
  ground.setAttribute("height", height);
  return { text: new XMLSerializer().serializeToString(svg), width, height };
}

// The series that are shown, in lines; how high they are.
function drawKey(add, legend, width) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `13px ${cssColour("--sans")}`;
  let x = GAP, y = 0;
  for (const button of legend.querySelectorAll('button[aria-pressed="true"]')) {
    const text = button.textContent, wide = 36 + pen.measureText(text).width;
    if (y === 0) y = 24;
    else if (x + wide > width) [x, y] = [GAP, y + 20];
    const mark = add("g", { transform: `translate(${x} ${y - 12})` });
    mark.append(...button.querySelector("svg").cloneNode(true).childNodes);
    add("text", { x: x + 36, y: y - 0.5, "font-size": 13, fill: cssColour("--ink") }, text);
    x += wide + 18;
  }
  return y ? y + 8 : 0;
}

async function pictureOf({ text, width, height }) {
  const picture = new Image(), address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  picture.src = address;
  await picture.decode();
  const canvas = element("canvas", { width: PIXELS * width, height: PIXELS * height });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

const DATA = ["panel", "series", "label", "x_axis", "x", "x_low", "x_high", "y_axis", "y", "y_low", "y_high", "value"];

// One row a point, bin or cell; columns that no row fills are left out.
function saveData(name, specs) {
  const rows = specs.flatMap((spec) => spec.data.flatMap((trace) => pointsOf(trace, spec)));
  const header = DATA.filter((column) => rows.some((row) => !missing(row[column]) && row[column] !== ""));
  saveRows(name, header, rows.map((row) => header.map((column) => row[column])));
}

// The name of a place on an axis of categories, or of the one that it is drawn beside.
function nameOf(axis, value) {
  if (missing(value)) return value;
  const far = axis.tickvals.map((tick) => Math.abs(tick - value)), nearest = far.indexOf(Math.min(...far));
  return far[nearest] < 0.5 || far[nearest] === 0 ? unescaped(axis.ticktext[nearest]) : value;
}

function pointsOf(trace, spec) {
  const { xaxis, yaxis, title } = spec.layout, named = spec.named || {};
  const about = { panel: title ? unescaped(title.text) : "", series: unescaped(trace.name), x_axis: unescaped(xaxis.title.text), y_axis: unescaped(yaxis.title.text) };
  const across = (value) => (named.x ? nameOf(xaxis, value) : value), upright = (value) => (named.y ? nameOf(yaxis, value) : value);
  const x = (trace.meta && trace.meta.at) || trace.x;
  if (trace.type === "heatmap") {
    const edges = trace.x.length > trace.customdata[0].length;
    return trace.customdata.flatMap((line, row) => line.map((value, column) => ({
      ...about, value,
      ...(edges ? { x_low: x[column], x_high: x[column + 1], y_low: trace.y[row], y_high: trace.y[row + 1] } : { x: across(x[column]), y: upright(trace.y[row]) }),
    }))).filter((row) => !missing(row.value));
  }
  const points = Array.from(x, (_, place) => place);
  if (trace.fill) { // the outline of a histogram
    return points.filter((place) => x[place + 1] > x[place]).map((place) => ({ ...about, x_low: x[place], x_high: x[place + 1], y: trace.y[place] }));
  }
  const along = trace.error_x ? "x" : "y";
  return points.map((place) => ({
    ...about, x: across(x[place]), y: upright(trace.y[place]), label: trace.text && trace.text[place] ? unescaped(trace.text[place]) : "",
    ...(trace.customdata ? { [`${along}_low`]: trace.customdata[place][0], [`${along}_high`]: trace.customdata[place][1] } : {}),
  })).filter((row) => !missing(row.x) && !missing(row.y));
}
