// What the charts say about batches: round axes, marks where something changed, and all fields of a batch.

const LANES = 2;
const CHARACTER = 6.2;
const NICE = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];

function nice(v) {
  if (!(v > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return power * NICE.find((m) => v <= m * power * 1.000001);
}

// An axis grows at once and shrinks late, so that it does not jump with every batch.
function steady(now, top, least) {
  const wanted = Math.max(nice(top * 1.03), least);
  return wanted > now || wanted < now * 0.45 ? wanted : now;
}

function largest(rows, names) {
  let top = 0;
  for (const row of rows) for (const name of names) if (row[name] > top) top = row[name];
  return top;
}

function marksOf(rows) {
  const found = [];
  let before = null;
  for (const row of rows) {
    const add = (kind, label) => found.push({ start_s: row.start_s, batch_id: row.batch_id, kind, label });
    if (before && Math.abs(row.interval_s - before.interval_s) > 1e-9)
      add("interval", duration(before.interval_s) + " → " + duration(row.interval_s));
    if (before && row.version !== before.version) add("version", "v" + row.version);
    if (["failed", "retried", "dead_lettered"].includes(row.status)) add(row.status, row.status.replace("_", " "));
    before = row;
  }
  return found;
}

// Gives each label a lane and a side where it touches no other; one that fits nowhere keeps its symbol only.
function placed(marks, at, width) {
  const ends = new Array(LANES).fill(-Infinity);
  return marks.map((mark) => {
    const x = at(mark.start_s);
    const length = 9 + CHARACTER * mark.label.length;
    const right = x + length <= width;
    const lane = ends.findIndex((end) => (right ? x - 9 : x - length) > end);
    if (lane < 0) return { ...mark, label: "", lane: LANES - 1, side: "right" };
    ends[lane] = right ? x + length : x + 9;
    return { ...mark, lane, side: right ? "right" : "left" };
  });
}

function keyOf(entry) {
  const sign = entry.dash
    ? svg("svg", { width: 24, height: 8, "aria-hidden": "true" }, svg("line", {
        x1: 0, x2: 24, y1: 4, y2: 4, stroke: entry.colour, "stroke-dasharray": entry.dash.join(" "),
        "stroke-width": entry.thick ? 4 : 2, "stroke-opacity": entry.thick ? 0.5 : 1,
      }))
    : el("i", { style: "color:" + entry.colour }, entry.shape);
  return el("span", {}, sign, entry.label);
}

const BATCH_FIELDS = ["batch_id", "status", "attempt", "version", "policy", "interval_s", "due_s", "start_s", "end_s",
  "num_input_rows", "num_output_rows", "backlog_rows", "latency_p50_s", "latency_p95_s", "latency_p99_s",
  "latency_max_s", "latency_mean_s", "batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "batch_duration_s",
  "processing_time_s", "sink_time_s", "commit_time_s", "wake_delay_s", "scheduling_delay_s", "freshness_s",
  "cpu_time_s", "input_rows_per_second", "processed_rows_per_second", "load", "state_bytes"];
const STAMPS = ["due_s", "start_s", "end_s"];

function fieldText(name, value) {
  if (value == null) return "–";
  if (typeof value !== "number") return String(value);
  if (STAMPS.includes(name)) return value.toFixed(3) + " s";
  if (name.endsWith("_s")) return duration(value);
  return Number.isInteger(value) ? value.toLocaleString("en-US") : number(value);
}

function batchLines(row) {
  const lines = BATCH_FIELDS.map((name) => el("div", {}, el("span", {}, name), el("b", {}, fieldText(name, row[name]))));
  if (row.error) lines.push(el("p", {}, row.error));
  return lines;
}
