// A neuron's page: its statistics, distribution, modes, tokens in context, pairs, and what its ablation alone does.
function neuronPage(explorer, neurons, row) {
  const id = neurons.id(row), detail = neurons.detail(id);
  const kept = neurons.histogram(row), known = detail.histogram || kept;
  const sets = neurons.sets.slice(0, neurons.chips).filter((_, place) => neurons.inSet(place, row)).map((one) => element("span", { class: "chip" }, one.name));
  const page = element("div", { class: "neuron" }, explorer.pager(neurons, row),
    element("div", { class: "head" }, element("h2", {}, `Neuron ${id}`), element("span", {}, ...sets)), cards(neurons, row));
  if (known) page.append(...histogram(id, known, neurons, row));
  else if (neurons.spec.histograms) page.append(element("p", { class: "small" }, neurons.spec.unknown));
  for (const text of detail.texts || []) page.append(element("p", {}, text));
  const exampled = element("p", { class: "small" }, neurons.spec.exampled);
  if (detail.contexts && detail.contexts.length) page.append(...contexts(detail.contexts));
  else if (neurons.examples(id).length) page.append(...contexts(neurons.examples(id), exampled));
  else if (kept && !neurons.spec.examples) page.append(exampled);
  if (detail.pairs && detail.pairs.length) page.append(...pairs(detail.pairs));
  for (const table of detail.tables || []) {
    page.append(element("h3", {}, table.title));
    const host = element("div", { class: "grid" });
    page.append(host);
    new Grid(host, { label: `${table.title}, neuron ${id}`, columns: tableColumns(table), count: table.rows });
  }
  if (!Object.keys(detail).length) page.append(element("p", { class: "small" }, neurons.spec.more));
  return page;
}

// Each statistic with its place among the neurons of the layer.
function cards(neurons, row) {
  const host = element("div", { class: "cards" }), layer = neurons.columns.get("layer").data;
  for (const column of neurons.columns.values()) {
    if (["layer", "expert", "neuron", "branch"].includes(column.key)) continue;
    const value = column.data[row];
    if (Number.isNaN(value)) continue;
    const card = element("div", { class: "card", title: column.meaning }, element("span", {}, column.label), element("b", {}, formatFixed(value, column.digits)));
    if (column.type === "f4") {
      let below = 0, others = 0;
      for (let other = 0; other < neurons.count; other += 1) {
        if (layer[other] !== layer[row] || Number.isNaN(column.data[other])) continue;
        others += 1;
        if (column.data[other] < value) below += 1;
      }
      const share = others > 1 ? (100 * below) / (others - 1) : 100;
      const bar = element("i");
      bar.style.width = `${share}%`;
      card.append(element("span", {}, place(share, others - below, others, layer[row])), element("div", { class: "rank", "aria-hidden": "true" }, bar));
    }
    host.append(card);
  }
  return host;
}

// Near either end a percentage would be rounded to all or nothing.
function place(share, rank, others, layer) {
  if (share === 100) return `highest in layer ${layer}`;
  if (share === 0) return `lowest in layer ${layer}`;
  if (share > 99 || share < 1) return `rank ${formatNumber(rank)} of ${formatNumber(others)} in layer ${layer}`;
  return `above ${Math.round(share)}% of layer ${layer}`;
}

// Density of the pre-activation, the Gaussian of its mean and standard deviation, and the line at zero.
function histogram(id, { edges, density, modes, beyond }, neurons, row) {
  const mean = neurons.at("mean", row), std = neurons.at("std", row);
  const outline = { x: [], y: [] };
  density.forEach((value, place) => { outline.x.push(edges[place], edges[place + 1]); outline.y.push(value, value); });
  const gauss = { x: [], y: [] };
  const from = Math.min(0, mean - 3 * std, edges[0]), to = Math.max(0, mean + 3 * std, edges[edges.length - 1]);
  for (let step = 0; step <= 240; step += 1) {
    const x = from + ((to - from) * step) / 240;
    gauss.x.push(x);
    gauss.y.push(Math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * Math.sqrt(2 * Math.PI)));
  }
  const data = [
    { type: "scatter", mode: "lines", name: "pre-activations", meta: { role: "top" }, ...outline, fill: "tozeroy", fillcolor: "role:top:0.25", line: { color: "role:top", width: 1.5 }, hovertemplate: "%{x:.3~g}: density %{y:.3~g}<extra></extra>" },
    { type: "scatter", mode: "lines", name: "Gaussian of the same mean and deviation", meta: { role: "gaussian" }, ...gauss, line: { color: "role:gaussian", dash: "dash", width: 1.5 }, hoverinfo: "skip" },
  ];
  const layout = {
    xaxis: { type: "linear", title: { text: "pre-activation" }, range: [from - 0.02 * (to - from), to + 0.02 * (to - from)] }, yaxis: { type: "linear", title: { text: "density" }, rangemode: "tozero" },
    shapes: [{ type: "line", xref: "x", yref: "y domain", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: "role:ink", width: 1.5 } }],
    annotations: [{ text: "zero", x: 0, y: 1, yref: "y domain", yanchor: "bottom", showarrow: false, font: { size: 11 } }],
  };
  (modes || []).forEach((mode, place) => {
    layout.shapes.push({ type: "line", xref: "x", yref: "y domain", x0: mode.mean, x1: mode.mean, y0: 0, y1: 1, line: { color: "role:random", width: 1, dash: "dot" } });
    // Beyond the middle the names stand left of their lines, where there is room for them.
    const side = mode.mean > (from + to) / 2 ? "right" : "left";
    layout.annotations.push({ text: `mode ${place + 1}: ${(100 * mode.weight).toFixed(0)}%`, x: mode.mean, y: 0.96 - 0.09 * (place % 5), yref: "y domain", xanchor: side, showarrow: false, font: { size: 11, color: "role:random" } });
  });
  const host = element("div", { class: "plots", "data-columns": "1" }), plot = element("div"), legend = element("div", { class: "legend", role: "group", "aria-label": "Series of the figure" });
  const save = element("div", { class: "save", role: "group", "aria-label": "Save the figure" });
  host.append(plot);
  plot.spec = { data, layout, height: 340 };
  plot.label = `Distribution of the pre-activations of neuron ${id}`;
  plot.className = "lone";
  plot.legend = legend;
  saveButtons(save, `neuron_${id}`, [plot], legend);
  const far = beyond ? element("p", { class: "small" }, `${formatNumber(Number((100 * beyond).toPrecision(2)))}% of the tokens lie beyond what is drawn.`) : null;
  return [element("h3", {}, "Distribution"), element("div", { class: "above" }, legend, save), host, far].filter(Boolean);
}

// Negative and positive differ by the underline (double, single) and the sign on hover, not by colour alone.
function token(text, value, scale, here) {
  const made = element("span", { class: `token ${value === null ? "" : value < 0 ? "neg" : "pos"}${here ? " here" : ""}`, dir: "ltr" }, text);
  if (value !== null) {
    const colour = value < 0 ? "--negative" : "--positive", strength = Math.round(Math.min(1, Math.abs(value) / scale) * 45);
    made.style.background = `color-mix(in srgb, var(${colour}) ${strength}%, transparent)`;
    made.title = `${value < 0 ? "−" : "+"}${formatNumber(Number(Math.abs(value).toPrecision(3)))}`;
  }
  return made;
}

function tokenKey() {
  return element("p", { class: "key" }, "Shaded by pre-activation: ", token("negative", -1, 2), " (blue, double underline) · ", token("positive", 1, 2), " (orange, single underline); the stronger the further from zero. The token that the example is about is framed.");
}

function contexts(all, about) {
  const made = [element("h3", {}, "Tokens in context"), about, tokenKey()].filter(Boolean);
  const scale = Math.max(1e-9, ...all.flatMap((one) => one.values.map((value) => Math.abs(value ?? 0))));
  for (const group of [...new Set(all.map((one) => one.group))]) {
    if (group) made.push(element("h4", {}, group));
    for (const one of all.filter((other) => other.group === group)) {
      const line = element("div", { class: "context" }, element("span", { class: "meta" }, one.note));
      one.tokens.forEach((text, place) => line.append(token(text, one.values[place], scale, place === one.at)));
      made.push(line);
    }
  }
  return made;
}

function pairs(all) {
  const made = [element("h3", {}, "Pairs of near inputs that it drives furthest apart")];
  const scale = Math.max(1e-9, ...all.flatMap((one) => one.sides.map((side) => Math.abs(side.value ?? 0))));
  for (const one of all) {
    const box = element("div", { class: "context" }, element("span", { class: "meta" }, one.note));
    for (const side of one.sides) box.append("\n", side.before, token(side.token, side.value, scale, true), side.after, element("span", { class: "meta" }, `  ${formatNumber(Number((side.value ?? NaN).toPrecision(3)))}`));
    made.push(box);
  }
  return made;
}
