// The control panel: every control gives one order, and shows the line of Python that did it.

const ICONS = {
  play: "M3 1.5v11l9-5.5z", pause: "M3 2h3v10H3zM8 2h3v10H8z", step: "M2 1.5v11l7-5.5zM10 2h2v10h-2z",
  stop: "M2.5 2.5h9v9h-9z", reset: "M7 2a5 5 0 1 0 4.9 6h-1.7A3.4 3.4 0 1 1 7 3.6V6l4-3-4-3z",
  diagnose: "M6 1a5 5 0 1 0 3.100 8.900L12 12.900l1-1-2.900-2.900A5 5 0 0 0 6 1zm0 1.600a3.400 3.400 0 1 1 0 6.800" +
    " 3.400 3.400 0 0 1 0-6.800z",
  tune: "M3 1v4H1.5v2H3v6h1V7h1.5V5H4V1zM9.500 1v7H8v2h1.500v3h1v-3H12V8h-1.500V1z",
  export: "M6 1h2v6h2.500L7 10.500 3.500 7H6zM2 11.500h10V13H2z",
};
const WORDS = {
  none: "not started", created: "not started", running: "running", paused: "paused",
  halted: "halted: the function failed", stopping: "stopping", stopped: "stopped", finished: "finished",
};
const REGIMES = {
  on_schedule: "on schedule", catching_up: "catching up", self_clocked: "self-clocked", unsustainable: "unsustainable",
};
const BUSY_NOTE = "The kernel is busy: buttons act when the running cell ends.";
const SPEAK_MS = 10000;
const STEPS = 1000;

class Panel {
  constructor(store, root) {
    this.store = store;
    this.root = root;
    this.spoke = 0;
    const button = (verb, label, title) => {
      const path = svg("path", { d: ICONS[verb] });
      const icon = svg("svg", { viewBox: "0 0 14 14", width: 12, height: 12, "aria-hidden": "true" }, path);
      const about = { type: "button", class: "mb-button", title, "data-verb": verb };
      const node = el("button", about, icon, el("span", {}, label));
      node.addEventListener("click", () => {
        if (node.getAttribute("aria-disabled") !== "true") store.order(verb, this.argument(verb));
      });
      return node;
    };
    this.buttons = {
      play: button("play", "Play", "Start a run, or go on after a pause or an error"),
      pause: button("pause", "Pause", "Freeze the run's clock after the batch in hand"),
      step: button("step", "Step", "Run the next batch and pause"),
      stop: button("stop", "Stop", "End the run after the batch in hand"),
      reset: button("reset", "Reset", "Stop, and forget the runs; steps and settings stay"),
      diagnose: button("diagnose", "Diagnose", "Say in words what this run's latency is made of"),
      tune: button("tune", "Tune", "Try batches for some seconds and advise an interval"),
      export: button("export", "Export", "Write the pipeline as a script beside the notebook"),
    };
    this.name = el("b", { class: "mb-name" });
    this.pill = el("span", { class: "mb-pill", role: "status" });
    this.about = el("span", { class: "mb-about" });
    this.fill = el("i");
    this.progress = el("div", {
      class: "mb-progress", role: "progressbar", "aria-label": "progress of the run", "aria-valuemin": 0,
      "aria-valuemax": 100,
    }, this.fill);
    this.left = el("span", { class: "mb-about" });
    this.knobs = {
      interval: this.slider("interval", "Interval", "Time between two triggers, such as 500ms", durationCode),
      speedup: this.slider("speedup", "Speed-up", "Source seconds that pass in one second of the run", speedCode),
    };
    this.cap = this.field("max_rows_per_batch", "Row cap", "Most rows in a batch; empty is no cap", "none");
    this.policy = el("select", { title: "What a batch that overruns its interval does to the next" },
      ...store.codes.policy.map((p) => el("option", { value: p }, p)));
    this.policy.addEventListener("change", () => store.order("policy", this.policy.value));
    this.target = this.field("target", "p95 target", "Latency that 95 of 100 records should keep, such as 2s", "none");
    this.tiles = {};
    const tile = (name, label) => {
      const value = el("b", {}, "–");
      const unit = el("small");
      this.tiles[name] = { box: el("div", { class: "mb-tile" }, el("span", {}, label), value, " ", unit), value, unit };
      return this.tiles[name].box;
    };
    const tiles = el("div", { class: "mb-tiles", role: "group", "aria-label": "newest batch" },
      tile("p50", "Latency p50"), tile("p95", "Latency p95"), tile("size", "Batch size"), tile("rate", "Arriving"),
      tile("backlog", "Backlog"), this.gauge(), tile("slo", "Over target"));
    this.error = el("pre", { class: "mb-error", role: "alert", tabindex: "0", hidden: true });
    this.log = el("ol", { class: "mb-log", "aria-label": "what the controls did, as Python", tabindex: "0" });
    this.hint = el("div", { class: "mb-hint", role: "status" });
    this.advice = el("div", { class: "mb-range mb-advice", role: "status", hidden: true });
    this.spoken = el("div", { class: "mb-sr", "aria-live": "polite" });
    const grow = el("span", { class: "mb-grow" });
    const policy = el("label", { class: "mb-field" }, el("span", {}, "Policy"), this.policy);
    root.append(
      el("div", { class: "mb-line" }, this.name, this.pill, this.about, grow, this.progress, this.left),
      el("div", { class: "mb-line", role: "toolbar", "aria-label": "run" }, ...Object.values(this.buttons)),
      el("div", { class: "mb-knobs" }, this.knobs.interval.box, this.knobs.speedup.box,
        el("div", { class: "mb-line" }, this.cap.box, policy, this.target.box)),
      this.hint, this.error, this.log, this.advice, tiles, this.spoken,
    );
  }

  argument(verb) {
    return verb === "tune" ? this.store.state.target || null : null;
  }

  gauge() {
    this.load = el("b", {}, "–");
    this.bar = el("i");
    this.regime = el("em", {}, "");
    const about = { class: "mb-meter", role: "meter", "aria-label": "load", "aria-valuemin": 0, "aria-valuemax": 1.5 };
    this.meter = el("div", about, this.bar);
    const label = el("span", {}, "Load ", this.regime);
    this.gaugeBox = el("div", { class: "mb-tile mb-gauge" }, label, this.load, this.meter);
    return this.gaugeBox;
  }

  field(verb, label, title, placeholder) {
    const about = { type: "text", title, placeholder, autocomplete: "off", spellcheck: "false", "data-verb": verb };
    const input = el("input", about);
    input.addEventListener("change", () => this.store.order(verb, input.value.trim() || null));
    input.addEventListener("keydown", (event) => event.stopPropagation()); // JupyterLab's shortcuts stay out
    return { box: el("label", { class: "mb-field" }, el("span", {}, label), input), input };
  }

  // A logarithmic slider with its exact text; while it is dragged nothing changes but the ghost.
  slider(verb, label, title, code) {
    const about = { title, "aria-label": label + ", logarithmic", "data-verb": verb };
    const range = el("input", { type: "range", min: 0, max: STEPS, step: 1, ...about });
    const text = this.field(verb, label, title, "");
    const knob = { range, text: text.input, low: 0.01, high: 10, held: false };
    const value = () => knob.low * (knob.high / knob.low) ** (range.value / STEPS);
    const short = () => Number(value().toPrecision(2));
    range.addEventListener("pointerdown", () => (knob.held = true));
    range.addEventListener("input", () => {
      knob.text.value = code(short());
      range.setAttribute("aria-valuetext", knob.text.value);
      if (verb === "interval") this.ask(short());
    });
    range.addEventListener("change", () => {
      knob.held = false;
      knob.moved = Date.now();
      clearTimeout(this.asking);
      this.store.order(verb, code(short()));
    });
    range.addEventListener("keydown", (event) => event.stopPropagation());
    knob.show = (v) => {
      if (knob.held || document.activeElement === knob.text || Date.now() - (knob.moved || 0) < 400) return;
      while (v < knob.low) knob.low /= 10;
      while (v > knob.high) knob.high *= 10;
      range.value = Math.round((STEPS * Math.log(v / knob.low)) / Math.log(knob.high / knob.low));
      if (knob.text.value !== code(v)) knob.text.value = code(v);
      range.setAttribute("aria-valuetext", knob.text.value);
    };
    knob.box = el("div", { class: "mb-knob" }, text.box, range);
    return knob;
  }

  // What the interval under the slider would do: asked for when the hand rests a moment.
  ask(interval) {
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.store.send({ k: "ghost", interval }), 90);
  }

  showOrders() {
    const { orders, lines, unanswered } = this.store;
    const waiting = new Set([...orders.values()].map((order) => order.verb));
    for (const [verb, node] of Object.entries(this.buttons)) {
      if (waiting.has(verb)) node.setAttribute("aria-busy", "true");
      else node.removeAttribute("aria-busy");
    }
    this.busy = unanswered;
    this.showHint();
    if (this.shown === lines[lines.length - 1]) return;
    this.shown = lines[lines.length - 1];
    this.log.replaceChildren(...lines.map((line) => el("li", line.error ? { class: "mb-bad" } : {},
      el("code", {}, line.code), line.text && !line.shows ? el("span", {}, line.text) : null)));
    this.log.scrollTop = this.log.scrollHeight;
    this.showState();
  }

  predict(text) {
    this.prediction = text;
    this.showHint();
  }

  showHint() {
    this.hint.classList.toggle("mb-warn", !!this.busy);
    write(this.hint, this.busy ? BUSY_NOTE : this.prediction || "");
  }

  showAdvice(answer) {
    this.advice.hidden = !answer;
    if (!answer) return;
    const button = (label, act) => el("button", { type: "button", class: "mb-button", onclick: act }, label);
    const close = () => {
      this.store.advice = null;
      this.store.notify("answer");
    };
    this.advice.replaceChildren(el("p", {}, answer.text),
      answer.apply ? button("Use " + duration(answer.apply), () => this.store.order("apply")) : "", button("Close", close));
  }

  showState() {
    const s = this.store.state;
    const status = s.status || "none";
    write(this.name, s.name || "");
    write(this.pill, WORDS[status] || status);
    this.pill.dataset.status = status;
    const any = status !== "none";
    const able = {
      play: !["running", "stopping"].includes(status), pause: status === "running", step: status !== "stopping",
      stop: ["running", "paused", "halted"].includes(status), reset: any, diagnose: any, tune: true, export: true,
    };
    for (const [verb, node] of Object.entries(this.buttons)) node.setAttribute("aria-disabled", String(!able[verb]));
    write(this.buttons.play.lastChild, ["paused", "halted"].includes(status) ? "Resume" : "Play");
    if (s.interval_s) this.knobs.interval.show(s.interval_s);
    this.knobs.speedup.box.hidden = s.speedup == null;
    if (s.speedup) this.knobs.speedup.show(s.speedup);
    const put = (input, value) => document.activeElement !== input && input.value !== value && (input.value = value);
    put(this.cap.input, s.cap == null ? "" : String(s.cap));
    put(this.policy, s.policy || "asap");
    put(this.target.input, s.target || "");
    this.error.hidden = !s.error;
    write(this.error, s.error || "");
    this.showProgress(s);
    this.showTiles();
  }

  showProgress(s) {
    const version = s.steps && s.steps.length ? s.steps.join(" → ") + ", version " + s.version : "no step yet";
    write(this.about, version);
    const share = s.share == null ? null : Math.max(0, Math.min(1, s.share));
    this.progress.hidden = share == null;
    if (share != null) {
      this.fill.style.width = 100 * share + "%";
      this.progress.setAttribute("aria-valuenow", Math.round(100 * share));
    }
    const left = s.left_s != null && s.status === "running" ? `, ${duration(s.left_s)} left` : "";
    const of = s.length_s ? " of " + duration(s.length_s) : "";
    write(this.left, s.now_s == null ? "" : duration(s.now_s) + of + left);
  }

  showTiles() {
    const s = this.store.state;
    const rows = this.store.rows;
    const last = rows[rows.length - 1];
    const some = [...rows].reverse().find((row) => row.latency_p95_s != null);
    const set = (name, text, bad = false) => {
      const [figure, ...unit] = text.split(" ");
      write(this.tiles[name].value, figure);
      write(this.tiles[name].unit, unit.join(" "));
      this.tiles[name].box.classList.toggle("mb-over", bad);
    };
    set("p50", duration(some?.latency_p50_s));
    set("p95", duration(some?.latency_p95_s), !!(s.target_s && some?.latency_p95_s > s.target_s));
    set("size", last ? number(last.num_input_rows) + " rows" : "–");
    set("rate", last?.input_rows_per_second != null ? number(last.input_rows_per_second) + " rows/s" : "–");
    set("backlog", last ? number(last.backlog_rows) + " rows" : "–");
    set("slo", s.over == null ? "–" : number(100 * s.over, 2) + " %", s.over > 0.05);
    write(this.load, s.load == null ? "–" : number(s.load, 2));
    write(this.regime, s.load == null ? "" : "· " + (REGIMES[s.regime] || ""));
    this.bar.style.width = Math.min(100, (100 * (s.load || 0)) / 1.5) + "%";
    this.meter.setAttribute("aria-valuenow", (s.load || 0).toFixed(2));
    this.gaugeBox.classList.toggle("mb-over", s.load >= 1 || s.regime === "unsustainable");
    if (last && Date.now() - this.spoke > SPEAK_MS) {
      this.spoke = Date.now();
      write(this.spoken, `${WORDS[s.status] || ""}, batch ${last.batch_id}: p95 ${duration(some?.latency_p95_s)}, ` +
        `${last.num_input_rows} rows, backlog ${last.backlog_rows}, load ${number(s.load, 2)}`);
    }
  }
}
