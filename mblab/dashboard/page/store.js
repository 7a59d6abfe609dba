// What the kernel sent, once for all views of the widget: the newest batches, the state, and whether it still talks.

const RETRY_MS = 1200;
const SILENT_MS = 5000; // the kernel says something every second, also when paused
const UNANSWERED_MS = 1000;

class Store {
  constructor(model) {
    this.model = model;
    this.names = model.get("columns");
    this.codes = model.get("codes");
    this.exact = model.get("exact");
    this.rows = [];
    this.run = null;
    this.state = {};
    this.synced = false;
    this.stopped = false;
    this.heard = Date.now();
    this.asked = 0;
    this.tries = 0;
    this.ghost = null;
    this.orders = new Map(); // id → {verb, at, heard}
    this.lines = []; // what was done, newest last
    this.views = new Set();
    this.me = Math.random().toString(36).slice(2, 10);
    this.count = 0;
    this.hear = this.hear.bind(this);
    model.on("msg:custom", this.hear);
    model.on("comm_live_update", () => this.notify("life"));
    this.timer = setInterval(() => this.look(), 400);
    this.look();
  }

  close() {
    clearInterval(this.timer);
    this.model.off("msg:custom", this.hear);
  }

  send(message) {
    try {
      this.model.send(message);
    } catch (error) {
      this.broken = String(error);
    }
  }

  notify(what) {
    for (const view of this.views) view(what);
  }

  look() {
    const now = Date.now();
    if (!this.synced && now - this.asked > RETRY_MS * Math.min(1 + this.tries, 4)) {
      this.asked = now;
      this.tries += 1;
      this.send({ k: "sync" }); // the first messages of a reopened page may be lost, so it asks again
    }
    const silent = now - this.heard > SILENT_MS && this.synced;
    if (silent !== this.stopped) {
      this.stopped = silent;
      this.notify("life");
    }
    if (this.unanswered !== this.late()) {
      this.unanswered = this.late();
      this.notify("orders");
    }
  }

  late() {
    const now = Date.now();
    return [...this.orders.values()].some((order) => !order.heard && now - order.at > UNANSWERED_MS);
  }

  order(verb, arg = null) {
    const id = this.me + "-" + ++this.count;
    this.orders.set(id, { verb, at: Date.now(), heard: false });
    if (verb === "target") this.state = { ...this.state, target: arg }; // Tune may be pressed before the kernel says so
    this.send({ k: "do", id, verb, arg });
    this.notify("orders");
    return id;
  }

  hear(message, buffers) {
    this.heard = Date.now();
    if (this.stopped) {
      this.stopped = false;
      this.notify("life");
    }
    const k = message.k;
    if (k === "rows") this.take(message, buffers[0]);
    else if (k === "state") {
      this.state = message.whole ? message.state : { ...this.state, ...message.state };
      this.notify("state");
    } else if (k === "ghost") {
      this.ghost = message;
      this.notify("ghost");
    } else if (k === "ack" && this.orders.has(message.id)) {
      this.orders.get(message.id).heard = true;
      this.notify("orders");
    } else if (k === "done") {
      this.orders.delete(message.id);
      if (message.code) this.lines.push(message);
      this.lines = this.lines.slice(-40);
      if (message.shows === "summary") this.range = message;
      else if (message.shows) this.advice = message;
      this.notify("orders");
      if (message.shows) this.notify("answer");
    }
  }

  take(message, buffer) {
    if (message.reset) {
      this.rows = [];
      this.run = message.run;
      this.synced = true;
      this.tries = 0;
    } else if (message.run !== this.run) {
      this.synced = false; // rows of a run whose beginning was missed
      return;
    }
    for (const row of this.decode(message, buffer)) {
      const last = this.rows[this.rows.length - 1];
      if (!last || row.batch_id > last.batch_id) this.rows.push(row);
      else if (row.batch_id === last.batch_id && row.attempt > last.attempt) this.rows[this.rows.length - 1] = row;
    }
    const extra = this.rows.length - this.model.get("window");
    if (extra > 0) this.rows.splice(0, extra);
    this.ended = message.ended;
    this.notify("rows");
  }

  // One column after the other, the exact ones in 64 bits, the rest in 32; NaN is null, as Vega wants it.
  decode(message, buffer) {
    const n = message.n;
    const bytes = buffer ? buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) : null;
    const exact = bytes ? new Float64Array(bytes, 0, this.exact * n) : [];
    const short = bytes ? new Float32Array(bytes, exact.byteLength) : [];
    const rows = [];
    for (let i = 0; i < n; i++) {
      const row = {};
      this.names.forEach((name, j) => {
        const value = j < this.exact ? exact[j * n + i] : short[(j - this.exact) * n + i];
        row[name] = this.codes[name] ? this.codes[name][value] : Number.isNaN(value) ? null : value;
      });
      row.scheduling_delay_s = row.start_s - row.due_s;
      row.batch_duration_s = row.end_s - row.start_s;
      row.load = row.batch_duration_s / row.interval_s;
      row.processed_rows_per_second =
        row.num_input_rows && row.batch_duration_s ? row.num_input_rows / row.batch_duration_s : null;
      row.error = (message.errors || {})[row.batch_id] || "";
      rows.push(row);
    }
    return rows;
  }
}

// Vega comes from the kernel once a page, gzipped, and is imported from memory: nothing is fetched. Every widget that waits
// asks again in time, since the one that asked first may have been closed, and what comes for one is there for all.
function loadVega(model) {
  const page = (globalThis.mblabVega ??= { embed: null, waiting: new Set() });
  if (page.embed) return page.embed;
  return new Promise((found, failed) => {
    let tries = 0;
    let timer = 0;
    const end = () => {
      clearTimeout(timer);
      model.off("msg:custom", hear);
      page.waiting.delete(take);
    };
    const take = (embed) => {
      end();
      embed.then(found, failed);
    };
    const hear = (message, buffers) => {
      if (message.k !== "vega") return;
      if (message.error) {
        end();
        failed(new Error(message.error));
        return;
      }
      page.embed ??= unpackVega(buffers[0]);
      page.embed.catch(() => (page.embed = null));
      for (const give of [...page.waiting]) give(page.embed);
    };
    const ask = () => {
      tries += 1;
      if (tries > 40) {
        end();
        failed(new Error("the kernel gave no answer"));
        return;
      }
      if (tries > 1 || page.waiting.size === 1) {
        try {
          model.send({ k: "need-vega" });
        } catch {
          // the kernel is not there yet
        }
      }
      timer = setTimeout(ask, 1500 * Math.min(tries, 4));
    };
    model.on("msg:custom", hear);
    page.waiting.add(take);
    ask();
  });
}

async function unpackVega(packed) {
  const unzipped = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(unzipped).text();
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const module = await import(/* webpackIgnore: true */ url);
  URL.revokeObjectURL(url);
  return module.vegaEmbed;
}
