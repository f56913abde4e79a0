// A table that sorts, filters and scrolls through any number of rows: only the rows in view are in the document.
// It reads columns where they lie, in typed arrays. Tabulator 6.5 was tried in its place: it makes an object of every row
// (142 MB instead of 17 at 200,000 neurons), takes ten times as long to sort them, and reads names of columns as HTML.
const ROW = 30, WHOLE = 250, MOST_PIXELS = 8e6;
// On paper a whole study is to stay below 40 pages: all rows of tables of at most so many, so many of others, and so many
// characters of long texts. Then pixels across the page, and of the widest text; and how large a cell's content and padding
// are, of which the first is in type that is smaller than on the screen.
const PRINT_ALL = 10, PRINTED = 6, PRINT_LETTERS = 60, PAPER = 670, PRINT_TEXT = 200, CONTENT = 0.72, SCREEN_PAD = 24, PAPER_PAD = 11;

function formatNumber(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (Number.isInteger(value)) return value.toLocaleString("en-GB");
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(size >= 1000 ? 6 : 4)));
}

// Decimals that give a column's typical number four digits, so that its numbers stand under one another.
function decimalsOf(values) {
  const sizes = [], step = Math.max(1, Math.floor(values.length / 500));
  let whole = true;
  for (let place = 0; place < values.length; place += step) {
    if (missing(values[place])) continue;
    if (!Number.isInteger(values[place])) whole = false;
    if (values[place] !== 0) sizes.push(Math.abs(values[place]));
  }
  if (whole || !sizes.length) return null;
  sizes.sort((a, b) => a - b);
  const typical = sizes[sizes.length >> 1];
  // Quantities of different kinds in one column have no decimals in common.
  if (sizes[Math.floor(sizes.length * 0.9)] > 200 * sizes[Math.floor(sizes.length * 0.1)]) return null;
  if (typical < 1e-5 || typical >= 1e6) return null;
  let decimals = Math.max(0, Math.min(7, 3 - Math.floor(Math.log10(typical))));
  // Zeros at the end that all have say nothing; only where all numbers were looked at.
  while (step === 1 && decimals > 0 && sizes.every((size) => Math.abs(size - Number(size.toFixed(decimals - 1))) < 1e-7 * size)) decimals -= 1;
  return decimals;
}

function formatFixed(value, decimals) {
  if (missing(value)) return "";
  if (decimals === null || (value !== 0 && Math.abs(value) < 0.5 * 10 ** -decimals)) return formatNumber(value);
  return value.toLocaleString("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

function formatP(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  return value < 0.001 ? "< 0.001" : value.toFixed(3);
}

const missing = (value) => value === null || value === undefined || Number.isNaN(value);

// A cell as paper shows it.
function shortened(cell) {
  if (cell.textContent.length > PRINT_LETTERS && !cell.childElementCount) {
    cell.textContent = `${cell.textContent.slice(0, PRINT_LETTERS)}…`;
    cell.classList.add("cut");
  }
  return cell;
}

class Grid {
  // columns: {key, label, meaning, kind: "number" | "text" | "p" | "interval", value(row), text(row), width}
  // source: where all rows are beside this page, in words
  constructor(host, { label, columns, count, link, sort, toolbar, matches, source }) {
    Object.assign(this, { host, label, columns, count, link, matches, source });
    host.grid = this;
    this.sorting = sort || null;
    this.active = 0;
    this.order = new Uint32Array(count);
    this.build();
    if (toolbar) this.buildToolbar(toolbar);
    this.refresh();
  }

  get whole() { return this.count <= WHOLE; }

  build() {
    this.heads = this.columns.map((column, place) => {
      const button = element("button", { type: "button", title: column.meaning || null }, column.label);
      button.addEventListener("click", () => this.sortBy(place));
      return element("th", { scope: "col", class: column.kind === "text" ? "text" : "", "aria-sort": "none" }, button);
    });
    this.body = element("tbody");
    const cols = this.whole ? [] : this.columns.map((column) => {
      const col = element("col");
      col.style.width = `${column.width || 8}rem`;
      return col;
    });
    const table = element("table", { "aria-rowcount": this.count + 1, class: this.whole ? "" : "fixed" },
      element("caption", { class: "skip" }, this.label), element("colgroup", {}, ...cols),
      element("thead", {}, element("tr", { "aria-rowindex": 1 }, ...this.heads)), this.body);
    if (!this.whole) table.style.width = `${this.columns.reduce((sum, column) => sum + (column.width || 8), 0)}rem`;
    this.scroller = element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": this.label }, table);
    if (!this.whole) {
      this.scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
      this.scroller.style.height = "34rem";
    }
    if (this.link) this.scroller.addEventListener("keydown", (event) => this.onKey(event));
    this.cut = element("p", { class: "small print-only" });
    this.host.replaceChildren(this.scroller, this.cut);
  }

  // On paper nothing scrolls: what has no room is left out, and a sentence says how much, and where it is.
  print(printing) {
    if (this.paper) this.paper.remove();
    this.paper = null;
    if (printing) {
      const rows = this.order.length, left = rows > PRINT_ALL ? rows - PRINTED : 0;
      const shown = Array.from(left > 0 ? this.order.subarray(0, PRINTED) : this.order), places = this.fitting();
      this.paper = element("div", { class: "paper" }, this.printed(places, shown));
      const cut = [
        left > 0 && `the first ${PRINTED} of ${formatNumber(rows)} rows in the order shown on the screen`,
        places.length < this.columns.length && `${places.length} of ${this.columns.length} columns`,
        this.paper.querySelector(".cut") && `the first ${PRINT_LETTERS} characters of long texts`,
      ].filter(Boolean);
      this.cut.textContent = cut.length ? `Printed here: ${cut.join("; ")}. All is in ${[this.source, "this report on the screen"].filter(Boolean).join(", and in ")}.` : "";
      this.scroller.before(this.paper);
    }
    this.scroller.hidden = printing;
    if (!printing) this.draw(true);
  }

  // Numbers of the columns that fit on paper, in their order: what tells rows apart, estimates, then the others; columns
  // that are the same in all rows come last.
  fitting() {
    const wide = this.columns.map((column, place) => {
      const screen = (this.whole && this.heads[place].offsetWidth) || 16 * (column.width || 8);
      const width = CONTENT * (screen - SCREEN_PAD) + PAPER_PAD;
      return column.kind === "text" ? Math.min(PRINT_TEXT, width) : width;
    });
    const turns = this.columns.map((column, place) => {
      if (place === 0) return 0;
      const first = this.count ? column.text(0) : "";
      let row = 1;
      while (row < this.count && column.text(row) === first) row += 1;
      if (row >= this.count && this.count > 1) return 4;
      return column.kind === "interval" ? 2 : place < 4 ? 1 : 3;
    });
    const chosen = [];
    let left = PAPER;
    for (const place of [...wide.keys()].sort((a, b) => turns[a] - turns[b] || a - b)) {
      if (wide[place] > left) continue;
      chosen.push(place);
      left -= wide[place];
    }
    return chosen.sort((a, b) => a - b);
  }

  printed(places, rows) {
    const head = element("tr", {}, ...places.map((place) => element("th", { scope: "col", class: this.columns[place].kind === "text" ? "text" : "" }, this.columns[place].label)));
    const body = rows.map((row) => element("tr", {}, ...places.map((place) => shortened(this.cell(row, place)))));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  }

  buildToolbar(toolbar) {
    const search = element("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter: ${this.label}` });
    search.addEventListener("input", () => { this.query = search.value.trim().toLowerCase(); this.refresh(); });
    this.counter = element("span", { class: "count", "aria-live": "polite" });
    const csv = element("button", { type: "button" }, "CSV");
    csv.title = "Save the rows shown, in their order";
    csv.addEventListener("click", () => this.save());
    toolbar.replaceChildren(search, this.counter, csv);
    this.matches = (row) => !this.query || this.columns.some((column) => column.text(row).toLowerCase().includes(this.query));
  }

  sortBy(place) {
    const same = this.sorting && this.sorting.place === place;
    const first = this.columns[place].kind === "text" || this.columns[place].kind === "p" ? 1 : -1;
    this.sorting = { place, sign: same ? -this.sorting.sign : first };
    this.refresh();
  }

  refresh() {
    let kept = 0;
    if (this.order.length !== this.count) this.order = new Uint32Array(this.count);
    for (let row = 0; row < this.count; row += 1) if (!this.matches || this.matches(row)) this.order[kept++] = row;
    this.order = this.order.subarray(0, kept);
    if (this.sorting) {
      const { place, sign } = this.sorting, column = this.columns[place];
      this.order = column.kind === "text" ? this.sortTexts(column, sign) : this.sortNumbers(column, sign);
    }
    this.heads.forEach((head, place) => {
      const on = this.sorting && this.sorting.place === place;
      head.setAttribute("aria-sort", on ? (this.sorting.sign > 0 ? "ascending" : "descending") : "none");
    });
    if (this.counter) this.counter.textContent = kept === this.count ? `${formatNumber(kept)} rows` : `${formatNumber(kept)} of ${formatNumber(this.count)} rows`;
    this.active = 0;
    this.scroller.scrollTop = 0;
    this.draw(true);
    this.order = this.order.length === this.count ? this.order : this.order.slice();
    if (this.onRefresh) this.onRefresh(kept);
  }

  // Keys are taken once, so that comparing is comparing numbers; missing ones come last either way; ties keep their order.
  sortNumbers(column, sign) {
    const order = this.order, keys = new Float64Array(this.count);
    for (const row of order) {
      const value = column.value(row);
      keys[row] = missing(value) ? Infinity : sign * Number(value);
    }
    return order.slice().sort((a, b) => keys[a] - keys[b] || a - b || 0);
  }

  sortTexts(column, sign) {
    const collator = new Intl.Collator("en", { numeric: true });
    return Uint32Array.from(Array.from(this.order).sort((a, b) => sign * collator.compare(column.text(a), column.text(b)) || a - b));
  }

  view() {
    const rows = this.order.length, pixels = Math.min(rows * ROW, MOST_PIXELS), fits = Math.ceil((this.scroller.clientHeight || 540) / ROW);
    const way = Math.max(1, pixels - fits * ROW);
    // Beyond what a browser can lay out, a pixel of scrolling stands for more than a pixel of rows.
    const first = pixels < rows * ROW ? Math.round((Math.min(1, this.scroller.scrollTop / way)) * (rows - fits)) : Math.floor(this.scroller.scrollTop / ROW);
    const start = Math.max(0, Math.min(first - 5, rows - fits));
    return { start, stop: Math.min(rows, first + fits + 5), pixels, rows };
  }

  draw(force) {
    if (this.whole) {
      this.body.replaceChildren(...Array.from(this.order, (row, place) => this.row(row, place)));
      return;
    }
    const { start, stop, pixels, rows } = this.view();
    if (!force && this.drawn && this.drawn[0] === start && this.drawn[1] === stop) return;
    this.drawn = [start, stop];
    const focused = this.body.contains(document.activeElement);
    const made = [];
    for (let place = start; place < stop; place += 1) made.push(this.row(this.order[place], place));
    const shown = (stop - start) * ROW;
    const above = pixels < rows * ROW ? Math.max(0, Math.min(this.scroller.scrollTop - 5 * ROW, pixels - shown)) : start * ROW;
    this.body.replaceChildren(this.spacer(above), ...made, this.spacer(Math.max(0, pixels - above - shown)));
    if (focused) this.focusActive();
  }

  spacer(height) {
    const cell = element("td", { colspan: this.columns.length });
    cell.style.height = `${height}px`;
    return element("tr", { class: "spacer", "aria-hidden": "true" }, cell);
  }

  cell(row, number) {
    const column = this.columns[number], cell = element("td", { class: column.kind === "text" ? "text" : "" });
    if (column.kind === "interval") {
      const [value, range] = column.parts(row);
      cell.append(value);
      if (range) cell.append(" ", element("span", { class: "interval" }, range));
    } else {
      cell.textContent = column.text(row);
      if (column.kind === "text" && cell.textContent.length > 40) cell.title = cell.textContent;
    }
    return cell;
  }

  row(row, place) {
    const cells = this.columns.map((column, number) => {
      if (number !== 0 || !this.link) return this.cell(row, number);
      return element("td", {}, element("a", { href: this.link(row), tabindex: place === this.active ? "0" : "-1" }, column.text(row)));
    });
    return element("tr", { "aria-rowindex": place + 2 }, ...cells);
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.order.length, End: this.order.length }[event.key];
    if (step === undefined || event.target.closest("thead")) return;
    event.preventDefault();
    this.active = Math.max(0, Math.min(this.order.length - 1, this.active + step));
    this.reveal();
    this.focusActive();
  }

  reveal() {
    const { pixels, rows } = this.view(), top = this.active * (pixels / Math.max(1, rows)), height = this.scroller.clientHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + 2 * ROW > this.scroller.scrollTop + height) this.scroller.scrollTop = top + 2 * ROW + 8 - height;
    this.draw(true);
  }

  focusActive() {
    const link = this.body.querySelector(`tr[aria-rowindex="${this.active + 2}"] a`);
    (link || this.scroller).focus({ preventScroll: true });
  }

  // To a row by its number; to the one that was left last where filters leave that row out.
  focusRow(row) {
    const place = this.order.indexOf(row);
    if (place >= 0) this.active = place;
    this.reveal();
    this.focusActive();
  }

  save() {
    const header = this.columns.flatMap((column) => column.names || [column.key]);
    const rows = Array.from(this.order, (row) => this.columns.flatMap((column) => (column.all ? column.all(row) : [column.value(row)])));
    saveRows(this.label.replace(/[^\w-]+/g, "_"), header, rows);
  }
}

// A table of the report: columns as JSON, intervals beside their estimates.
function tableColumns(spec) {
  return spec.columns.map((column) => {
    const values = column.values;
    const made = { key: column.key, label: column.label, meaning: column.meaning, kind: column.kind, width: column.kind === "text" ? 14 : column.kind === "interval" ? 15 : 8 };
    made.value = (row) => values[row];
    if (column.kind === "text") made.text = (row) => values[row] ?? "";
    else if (column.kind === "p") made.text = (row) => formatP(values[row]);
    else if (column.kind === "interval") {
      const { low, high } = column, digits = decimalsOf(values);
      made.names = column.names;
      made.all = (row) => [values[row], low[row], high[row]];
      made.parts = (row) => [formatFixed(values[row], digits), missing(low[row]) || missing(high[row]) ? "" : `[${formatFixed(low[row], digits)}, ${formatFixed(high[row], digits)}]`];
      made.text = (row) => made.parts(row).join(" ");
    } else {
      const digits = decimalsOf(values);
      made.text = (row) => formatFixed(values[row], digits);
    }
    return made;
  });
}

function drawTables(root) {
  for (const place of root.querySelectorAll("[data-table]")) {
    if (place.dataset.drawn) continue;
    place.dataset.drawn = "yes";
    const spec = JSON.parse(document.getElementById(`data-${place.dataset.table}`).textContent);
    new Grid(place.querySelector(".grid"), { label: spec.title, columns: tableColumns(spec), count: spec.rows, toolbar: place.querySelector(".toolbar"), source: spec.source });
  }
}
