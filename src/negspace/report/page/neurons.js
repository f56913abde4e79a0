// The neuron explorer: all neurons of a run in a table, and a page for each.
const KEPT = { rows: "u4", low: "f4", step: "f4", counts: "u4" };
const READERS = { f4: Float32Array, i2: Int16Array, u2: Uint16Array, u4: Uint32Array, u1: Uint8Array };

function unpack(type, text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  return new READERS[type](bytes.buffer);
}

// One run's neurons. Columns are typed arrays, a row's index is the neuron's place in the scan.
class Neurons {
  constructor(spec) {
    this.spec = spec;
    this.count = spec.count;
    this.columns = new Map(spec.columns.map((column) => [column.key, this.column(column)]));
    this.sets = [...spec.sets, ...spec.views].map((one) => ({ name: one.name, data: unpack("u1", one.data) }));
    this.chips = spec.sets.length; // those after them say what the run knows of a neuron, not where it belongs
  }

  column(spec) {
    const data = unpack(spec.type, spec.data);
    return { ...spec, data, digits: spec.type === "f4" ? decimalsOf(data) : null };
  }

  at(key, row) { return this.columns.get(key).data[row]; }

  id(row) {
    const expert = this.at("expert", row), branch = this.spec.branches[this.at("branch", row)];
    const inner = expert >= 0 ? `${expert}.` : branch === "mlp" ? "" : `${branch}.`;
    return `${this.at("layer", row)}.${inner}${this.at("neuron", row)}`;
  }

  find(id) {
    for (let row = 0; row < this.count; row += 1) if (this.id(row) === id) return row;
    return -1;
  }

  inSet(set, row) { return (this.sets[set].data[row >> 3] >> (row & 7)) & 1; }

  detail(id) { return this.spec.details[id] || {}; }

  // The run's example tokens of a neuron, in the form of an analysis's contexts; none where it has none.
  examples(id) {
    const spec = this.spec.examples, own = spec && spec.of[id];
    if (!own) return [];
    const values = unpack("f4", own.values), width = values.length / own.at.length, reach = (width - 1) / 2;
    return own.at.map(([end, window, place], number) => {
      const around = values.subarray(number * width, (number + 1) * width), texts = spec.texts[window];
      const there = [...around.keys()].filter((step) => typeof texts[place - reach + step] === "string");
      return {
        group: `The ${spec.ends[end]} pre-activations`,
        note: `${around[reach] > 0 ? "+" : ""}${formatFixed(around[reach], 2)}`,
        tokens: there.map((step) => texts[place - reach + step]),
        values: there.map((step) => (Number.isNaN(around[step]) ? null : around[step])),
        at: there.indexOf(reach),
      };
    });
  }

  // The histogram that the scan keeps of a neuron: edges, densities, and the share of tokens beyond them; null if none.
  histogram(row) {
    if (!this.spec.histograms) return null;
    const { rows, low, step, counts } = this.kept || (this.kept = Object.fromEntries(Object.entries(KEPT).map(([key, type]) => [key, unpack(type, this.spec.histograms[key])])));
    let first = 0, last = rows.length;
    while (first < last) {
      const middle = (first + last) >> 1;
      if (rows[middle] < row) first = middle + 1;
      else last = middle;
    }
    if (rows[first] !== row) return null;
    const size = counts.length / rows.length, own = counts.subarray(first * size, (first + 1) * size), inner = own.subarray(1, size - 1);
    const tokens = own.reduce((sum, count) => sum + count, 0), from = inner.findIndex((count) => count > 0), to = inner.findLastIndex((count) => count > 0);
    const edges = Array.from({ length: to - from + 2 }, (_, place) => low[first] + (from + place) * step[first]);
    return { edges, density: Array.from(inner.subarray(from, to + 1), (count) => count / (tokens * step[first])), beyond: (own[0] + own[size - 1]) / tokens };
  }
}

const OPERATORS = { "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b };

class Explorer {
  constructor(host) {
    this.host = host;
    this.runs = [];
    this.labels = JSON.parse(document.getElementById("runs").textContent);
    this.row = -1;
  }

  load(run) {
    const place = Math.max(0, Math.min(run, this.labels.length - 1));
    if (!this.runs[place]) this.runs[place] = new Neurons(JSON.parse(document.getElementById(`neurons-${place}`).textContent));
    this.run = place;
    return this.runs[place];
  }

  suffix() { return this.run ? `&run=${this.run + 1}` : ""; }

  // Focus that lies in what is replaced goes on to what takes its place; a reader who is elsewhere is left there.
  get held() { return this.host.contains(document.activeElement); }

  list(run) {
    const { held, page } = this;
    if (this.shown !== run || !this.listing) this.build(this.load(run), run);
    this.load(run);
    if (page) page.remove();
    this.page = null;
    this.listing.hidden = false;
    this.grid.draw(true);
    if (held && page) this.grid.focusRow(this.row);
    else if (held) this.listing.querySelector("select, input").focus();
  }

  build(neurons, run) {
    this.shown = run;
    const search = element("input", { type: "search", "aria-label": "Search neurons", placeholder: "3.17   wd>0.4   negative_share>=0.8   a token or tag" });
    const layers = [...new Set(neurons.columns.get("layer").data)].sort((a, b) => a - b);
    const layer = element("select", { "aria-label": "Layer" }, element("option", { value: "" }, "all layers"), ...layers.map((one) => element("option", { value: one }, `layer ${one}`)));
    const set = element("select", { "aria-label": "Set" }, element("option", { value: "" }, "all neurons"), ...neurons.sets.map((one, place) => element("option", { value: place }, one.name)));
    this.counter = element("span", { class: "count", "aria-live": "polite" });
    this.problem = element("span", { class: "problem", role: "status" });
    const chooser = this.labels.length < 2 ? null : element("select", { "aria-label": "Run" }, ...this.labels.map((one, place) => element("option", { value: place }, one)));
    if (chooser) {
      chooser.value = String(run);
      chooser.addEventListener("change", () => { location.hash = Number(chooser.value) ? `neurons&run=${Number(chooser.value) + 1}` : "neurons"; });
    }
    const csv = element("button", { type: "button", title: "Save the rows shown, in their order" }, "CSV");
    const toolbar = element("div", { class: "toolbar" }, chooser, search, layer, set, this.counter, csv, this.problem);
    const place = element("div", { class: "grid" });
    const meanings = element("details", {}, element("summary", {}, "What the columns mean"),
      element("dl", { class: "meanings" }, ...[...neurons.columns.values()].filter((one) => one.meaning).map((one) => element("div", {}, element("dt", {}, element("code", {}, one.key)), element("dd", {}, one.meaning)))));
    this.listing = element("div", {}, toolbar, place, meanings);
    this.host.replaceChildren(this.listing);
    const columns = this.gridColumns(neurons);
    const wd = columns.findIndex((column) => column.key === "wd");
    this.grid = new Grid(place, { label: "Neurons", columns, count: neurons.count, sort: { place: wd, sign: -1 }, source: "scan.parquet of the run's folder", link: (row) => `#neuron=${neurons.id(row)}${this.suffix()}` });
    const told = (kept) => { this.counter.textContent = kept === neurons.count ? `${formatNumber(kept)} neurons` : `${formatNumber(kept)} of ${formatNumber(neurons.count)} neurons`; };
    this.grid.onRefresh = told;
    told(neurons.count);
    csv.addEventListener("click", () => this.grid.save());
    const apply = () => {
      const test = this.parse(neurons, search.value);
      const wantedLayer = layer.value === "" ? null : Number(layer.value), wantedSet = set.value === "" ? null : Number(set.value);
      this.grid.matches = (row) => (wantedLayer === null || neurons.at("layer", row) === wantedLayer) && (wantedSet === null || neurons.inSet(wantedSet, row)) && test(row);
      this.grid.refresh();
    };
    search.addEventListener("input", apply);
    layer.addEventListener("change", apply);
    set.addEventListener("change", apply);
  }

  gridColumns(neurons) {
    const made = [{ key: "id", label: "neuron", kind: "number", width: 7, meaning: "LAYER.INDEX; in a mixture of experts LAYER.EXPERT.INDEX", value: (row) => row, all: (row) => [neurons.id(row)], text: (row) => neurons.id(row) }];
    for (const column of neurons.columns.values()) {
      if (["layer", "expert", "neuron", "branch"].includes(column.key)) continue;
      made.push({ key: column.key, label: column.label, kind: "number", meaning: column.meaning, width: 6 + column.label.length * 0.24, value: (row) => column.data[row], text: (row) => formatFixed(column.data[row], column.digits) });
    }
    if (Object.keys(neurons.spec.words).length) made.push({ key: "drives", label: "what drives it", kind: "text", width: 18, meaning: "Tokens and tags over-represented in its modes", value: (row) => neurons.spec.words[neurons.id(row)] || "", text: (row) => neurons.spec.words[neurons.id(row)] || "" });
    return made;
  }

  // Terms apart by spaces: column, comparison and number; a neuron's name or its beginning; or any words about it.
  parse(neurons, text) {
    const tests = [];
    this.problem.textContent = "";
    for (const term of text.trim().split(/\s+/).filter(Boolean)) {
      const compared = /^(\w+)(<=|>=|<|>|=)(.*)$/.exec(term);
      if (compared) {
        const [, key, operator, number] = compared, column = neurons.columns.get(key);
        if (!column) this.problem.textContent = `no column “${key}”; there are ${[...neurons.columns.keys()].join(", ")}`;
        else if (number !== "" && Number.isFinite(Number(number))) tests.push((row) => OPERATORS[operator](column.data[row], Number(number)));
        continue;
      }
      if (/^\d+(\.\w*)*$/.test(term)) tests.push((row) => { const id = neurons.id(row); return id === term || id.startsWith(term.endsWith(".") ? term : `${term}.`) || (term.includes(".") && id.startsWith(term)); });
      else {
        const wanted = term.toLowerCase();
        tests.push((row) => (neurons.spec.words[neurons.id(row)] || "").toLowerCase().includes(wanted));
      }
    }
    return (row) => tests.every((test) => test(row));
  }

  open(id, run) {
    const { held } = this;
    const neurons = this.load(run);
    if (!this.listing || this.shown !== run) this.list(run);
    const row = this.row = neurons.find(id);
    if (this.page) this.page.remove();
    this.listing.hidden = true;
    this.page = row < 0 ? element("div", { class: "neuron" }, this.back(), element("p", { class: "notice" }, `There is no neuron ${id} in this run.`)) : neuronPage(this, neurons, row);
    this.host.append(this.page);
    drawFigures(this.page);
    window.scrollTo(0, 0);
    const heading = this.page.querySelector("h2, .notice");
    heading.tabIndex = -1;
    if (held) heading.focus({ preventScroll: true });
  }

  back() { return element("a", { href: `#neurons${this.suffix()}` }, "← all neurons"); }

  pager(neurons, row) {
    const place = this.grid.order.indexOf(row);
    const link = (step, text) => {
      const next = place < 0 ? undefined : this.grid.order[place + step];
      return next === undefined ? null : element("a", { href: `#neuron=${neurons.id(next)}${this.suffix()}` }, text);
    };
    return element("div", { class: "pager" }, this.back(), link(-1, "‹ previous"), link(1, "next ›"), place < 0 ? null : element("span", { class: "count" }, `${formatNumber(place + 1)} of ${formatNumber(this.grid.order.length)} shown`));
  }
}
