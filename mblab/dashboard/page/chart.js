// The charts: one Vega view made once, fed in place; over it a ruler to read batches by, and a brush.

const HEADING = 17;
const DRAWN = ["start_s", "interval_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "num_input_rows",
  "input_rows_per_second", "processed_rows_per_second", "backlog_rows", "load"];
const COLOURS = { target: "#CC79A7", p50: "#0072B2", p95: "#009E73", p99: "#D55E00" };
const LONGEST_REST = 250; // ms

class Chart {
  constructor(store, root) {
    this.store = store;
    this.root = root;
    this.plot = el("div", { class: "mb-plot", "aria-hidden": "true" });
    this.heads = el("div", { class: "mb-heads" });
    this.ruler = el("div", { class: "mb-ruler", hidden: true });
    this.brush = el("div", { class: "mb-brush", hidden: true });
    this.card = el("div", { class: "mb-card", hidden: true });
    this.glass = el("div", {
      class: "mb-glass", tabindex: "0", role: "group",
      "aria-label": "Charts of the run. Left and right arrow keys read single batches, Escape ends that.",
    }, this.brush, this.ruler);
    this.spoken = el("div", { class: "mb-sr", "aria-live": "polite" });
    this.note = el("div", { class: "mb-note" });
    root.append(this.plot, this.heads, this.glass, this.card, this.note, this.spoken);
    this.limits = { ...store.model.get("limits") };
    this.copies = new Map();
    this.zoom = null;
    this.target = null;
    this.drawn = 0;
    this.width = 0;
    this.glass.addEventListener("pointerdown", (e) => this.press(e));
    this.glass.addEventListener("pointermove", (e) => this.move(e));
    this.glass.addEventListener("pointerup", (e) => this.release(e));
    this.glass.addEventListener("pointercancel", () => this.unpress());
    this.glass.addEventListener("pointerleave", () => this.read(null));
    this.glass.addEventListener("dblclick", () => this.clear());
    this.glass.addEventListener("keydown", (e) => this.key(e));
    this.glass.addEventListener("blur", () => this.read(null));
    this.onTheme = new MutationObserver(() => this.later());
    const theme = ["data-jp-theme-light", "data-jp-theme-name"];
    this.onTheme.observe(document.body, { attributes: true, attributeFilter: theme });
    this.onWidth = new ResizeObserver(() => Math.abs(root.clientWidth - this.width) > 12 && this.later());
    this.onWidth.observe(root);
    this.build();
  }

  close() {
    this.closed = true;
    this.onTheme.disconnect();
    this.onWidth.disconnect();
    clearTimeout(this.timer);
    this.finalize?.();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => requestAnimationFrame(() => this.build()), 120); // the width settles a frame later
  }

  // -- making it ------------------------------------------------------------------------------------------------------

  config() {
    const style = getComputedStyle(this.root);
    const text = style.color;
    const faint = style.getPropertyValue("--mb-grid").trim() || "#8883";
    return {
      background: "transparent", view: { stroke: null }, font: style.fontFamily, aria: false,
      axis: { labelColor: text, labelFontSize: 11, gridColor: faint, tickColor: faint, domain: false, labelLimit: 60 },
      text: { color: text }, bar: { binSpacing: 0 },
    };
  }

  async build() {
    const width = this.root.clientWidth;
    if (this.closed || !width) return;
    this.width = width;
    const generation = (this.generation = (this.generation || 0) + 1);
    if (!this.view) write(this.note, "Preparing the charts … (the first time on a computer takes some seconds)");
    let made;
    try {
      const embed = await loadVega(this.store.model);
      const spec = structuredClone(this.store.model.get("spec"));
      const plot = Math.max(160, width - 54 - 26);
      for (const panel of spec.vconcat) panel.width = plot;
      const holder = el("div");
      made = await embed(holder, spec, { actions: false, renderer: "canvas", config: this.config(), tooltip: false });
      if (this.closed || generation !== this.generation) return made.finalize();
      this.finalize?.();
      this.plot.replaceChildren(holder);
    } catch (error) {
      write(this.note, "The charts cannot be drawn: " + error.message);
      return;
    }
    write(this.note, "");
    this.view = made.view;
    this.view.cleanThreshold = 500; // else Vega keeps ten thousand marks that are gone, for each kind of mark
    this.finalize = () => made.finalize();
    this.copies = new Map();
    this.keys = {};
    this.frame();
    this.draw();
  }

  // Reads off Vega where the panels lie, and writes their headings there.
  frame() {
    const [left, top] = this.view.origin();
    const groups = this.view.scenegraph().root.items[0].items.filter((mark) => /^concat_\d+_group$/.test(mark.name));
    this.boxes = groups.map((mark) => {
      const item = mark.items[0];
      return { x: left + item.x, y: top + item.y, width: item.width, height: item.height };
    });
    const [strip, ...panels] = this.boxes;
    const last = panels[panels.length - 1];
    this.area = { x: strip.x, y: strip.y, width: strip.width, height: last.y + last.height - strip.y };
    for (const [name, value] of Object.entries(this.area)) {
      this.glass.style[{ x: "left", y: "top" }[name] || name] = value + "px";
    }
    const about = this.store.model.get("spec").usermeta.panels;
    this.extra = el("span", {});
    this.named = "";
    this.heads.replaceChildren(...panels.map((box, i) => {
      const head = el("div", { class: "mb-head" }, el("b", {}, about[i].title), ...about[i].key.map(keyOf));
      if (i === 0) head.append(this.extra);
      head.style.top = box.y - HEADING + "px";
      head.style.left = box.x + "px";
      head.style.width = box.width + "px";
      return head;
    }));
  }

  // -- feeding it -----------------------------------------------------------------------------------------------------

  draw() {
    this.wanted = true;
    if (!this.busy) this.flush();
  }

  // One change and one frame at a time: what comes meanwhile waits and goes in together.
  async flush() {
    this.busy = true;
    try {
      while (this.wanted && this.view && !this.closed) {
        this.wanted = false;
        const view = this.view;
        const began = performance.now();
        this.change(view);
        await view.runAsync();
        this.drawn += 1;
        const last = this.store.rows[this.store.rows.length - 1];
        const data = this.root.closest(".mblab").dataset;
        data.drawn = this.drawn;
        data.last = last ? last.batch_id : "";
        if (last && this.store.ended) data.lag = Math.round(Date.now() - this.store.ended);
        // The kernel may live on the same processor, and painting, unseen from here, takes longer than drawing.
        const rest = document.hidden ? LONGEST_REST : Math.min(LONGEST_REST, 6 * (performance.now() - began));
        await new Promise((done) => setTimeout(done, rest));
      }
    } catch (error) {
      console.error("mblab: the charts stopped", error);
    } finally {
      this.busy = false;
    }
  }

  change(view) {
    const rows = this.store.rows;
    const kept = new Set(rows);
    const gone = [...this.copies].filter(([row]) => !kept.has(row));
    const fresh = rows.filter((row) => !this.copies.has(row));
    for (const [row] of gone) this.copies.delete(row);
    const copies = fresh.map((row) => {
      const copy = { rank: row.batch_id };
      for (const name of DRAWN) copy[name] = row[name];
      if (!row.input_rows_per_second) copy.input_rows_per_second = null; // the axis is logarithmic
      if (row.status === "failed") copy.processed_rows_per_second = copy.load = null;
      this.copies.set(row, copy);
      return copy;
    });
    if (fresh.length || gone.length) {
      view.change("batches", view.changeset().remove(gone.map(([, copy]) => copy)).insert(copies));
    }
    this.limit(rows);
    for (const [name, value] of Object.entries(this.limits)) view.signal(name, value);
    const at = (s) => ((s - this.limits.x0) / (this.limits.x1 - this.limits.x0)) * this.area.width;
    const seen = marksOf(rows).filter((mark) => mark.start_s >= this.limits.x0 && mark.start_s <= this.limits.x1);
    this.replace(view, "marks", placed(seen, at, this.area.width));
    this.replace(view, "guides", this.guides());
    this.nameGuides();
    this.showRead();
    this.showBrush();
  }

  replace(view, name, rows) {
    const key = JSON.stringify(rows);
    if (this.keys[name] === key) return;
    this.keys[name] = key;
    view.change(name, view.changeset().remove(() => true).insert(rows));
  }

  guides() {
    const lines = this.ghost
      ? ["p50", "p95", "p99"].map((kind) => ({ kind, level_s: this.ghost[kind], colour: COLOURS[kind] }))
      : [];
    if (this.target) lines.push({ kind: "target", level_s: this.target, colour: COLOURS.target });
    return lines.filter((line) => line.level_s != null);
  }

  // The guides are named beside the panel's heading, where no line runs through the words.
  nameGuides() {
    const named = [
      this.target && "target " + duration(this.target),
      this.ghost && "predicted at " + duration(this.ghost.interval),
    ];
    if (String(named) === this.named) return;
    this.named = String(named);
    const key = (text, colour) => text && keyOf({ label: text, colour, dash: [1, 0], thick: true });
    this.extra.replaceChildren(key(named[0], COLOURS.target) || "", key(named[1], COLOURS.p50) || "");
  }

  limit(rows) {
    const limits = this.limits;
    const first = rows[0];
    const last = rows[rows.length - 1];
    if (first) {
      limits.x0 = first.batch_id === 0 ? 0 : first.start_s;
      limits.x1 = Math.max(last.start_s, limits.x0 + 8 * last.interval_s) + 0.5 * last.interval_s;
    } else {
      limits.x0 = 0;
      limits.x1 = 10;
    }
    if (this.zoom && first && this.zoom[1] < first.start_s) this.zoom = null; // it has left the window
    if (this.zoom) [limits.x0, limits.x1] = this.zoom;
    const seen = rows.filter((row) => row.start_s >= limits.x0 && row.start_s <= limits.x1);
    const levels = this.guides().map((line) => line.level_s);
    const latency = Math.max(largest(seen, ["latency_p99_s", "interval_s"]), ...levels);
    limits.latency1 = steady(limits.latency1, latency, 0.001);
    limits.rows1 = steady(limits.rows1, largest(seen, ["num_input_rows"]), 1);
    limits.backlog1 = steady(limits.backlog1, largest(seen, ["backlog_rows"]), 1);
    limits.load1 = steady(limits.load1, largest(seen, ["load"]), 1.2);
    const both = seen.flatMap((row) => [row.input_rows_per_second, row.processed_rows_per_second]);
    const rates = both.filter((v) => v > 0);
    if (rates.length) {
      limits.rate0 = 10 ** Math.floor(Math.log10(rates.reduce((a, b) => Math.min(a, b))));
      limits.rate1 = 10 ** Math.ceil(Math.log10(rates.reduce((a, b) => Math.max(a, b)) * 1.000001));
      limits.rates = [];
      for (let rate = limits.rate0; rate <= limits.rate1 * 1.01; rate *= 10) limits.rates.push(rate);
    }
    const gaps = seen.slice(1).map((row, i) => row.start_s - seen[i].start_s).sort((a, b) => a - b);
    const gap = gaps.length ? gaps[Math.floor(gaps.length / 10)] : (limits.x1 - limits.x0) / 20;
    limits.bar = Math.max(1, Math.min(14, (0.75 * gap * this.area.width) / (limits.x1 - limits.x0)));
  }

  // -- reading it -----------------------------------------------------------------------------------------------------

  timeAt(event) {
    const x = event.clientX - this.glass.getBoundingClientRect().left;
    const share = Math.max(0, Math.min(1, x / this.area.width));
    return this.limits.x0 + share * (this.limits.x1 - this.limits.x0);
  }

  pixel(s) {
    return ((s - this.limits.x0) / (this.limits.x1 - this.limits.x0)) * this.area.width;
  }

  press(event) {
    if (event.button !== 0 || !this.view) return;
    this.pressed = { from: this.timeAt(event), x: event.clientX };
    this.glass.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.view) return;
    const time = this.timeAt(event);
    if (this.pressed && Math.abs(event.clientX - this.pressed.x) > 4) {
      this.range = [Math.min(this.pressed.from, time), Math.max(this.pressed.from, time)];
      this.read(null);
      this.showBrush();
    } else if (!this.pressed) {
      this.read(this.nearest(time));
    }
  }

  release(event) {
    if (!this.pressed) return;
    const dragged = Math.abs(event.clientX - this.pressed.x) > 4;
    this.unpress();
    if (dragged) this.store.order("summary", this.range.map((s) => Math.round(Math.max(0, s) * 1000) / 1000));
  }

  unpress() {
    this.pressed = null;
  }

  clear() {
    this.range = this.zoom = null;
    this.store.range = null;
    this.store.notify("answer");
    this.draw();
  }

  zoomIn() {
    this.zoom = this.range || this.zoom;
    this.range = null;
    this.draw();
  }

  showBrush() {
    this.brush.hidden = !this.range;
    if (!this.range) return;
    const from = Math.max(0, this.pixel(this.range[0]));
    const to = Math.min(this.area.width, this.pixel(this.range[1]));
    this.brush.style.left = from + "px";
    this.brush.style.width = Math.max(0, to - from) + "px";
  }

  nearest(time) {
    const seen = this.store.rows.filter((row) => row.start_s >= this.limits.x0 && row.start_s <= this.limits.x1);
    let best = null;
    for (const row of seen) if (!best || Math.abs(row.start_s - time) < Math.abs(best.start_s - time)) best = row;
    return best;
  }

  key(event) {
    const rows = this.store.rows;
    if (event.key === "Escape") {
      this.read(null);
      this.clear();
    } else if (rows.length && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      const now = this.reading ? rows.findIndex((row) => row.batch_id === this.reading.batch_id) : rows.length;
      const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: rows.length - 1 }[event.key];
      this.read(rows[Math.max(0, Math.min(rows.length - 1, to))]);
      const row = this.reading;
      const p95 = duration(row.latency_p95_s);
      write(this.spoken, `batch ${row.batch_id}, ${row.status}, ${row.num_input_rows} rows, p95 ${p95}`);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // else JupyterLab would move between cells
  }

  read(row) {
    if (row === this.reading) return;
    this.reading = row;
    if (row) this.card.replaceChildren(...batchLines(row));
    this.showRead();
  }

  showRead() {
    const row = this.reading;
    const out = !row || row.start_s < this.limits.x0 || row.start_s > this.limits.x1;
    this.ruler.hidden = this.card.hidden = out;
    if (out) return;
    const x = this.pixel(row.start_s);
    this.ruler.style.left = x + "px";
    const room = this.area.x + x;
    const wide = this.card.offsetWidth;
    const left = room + wide + 14 < this.width ? room + 12 : room - wide - 12;
    this.card.style.left = Math.max(2, Math.min(left, this.width - wide - 2)) + "px";
    this.card.style.top = this.boxes[2].y - HEADING + "px";
  }
}
