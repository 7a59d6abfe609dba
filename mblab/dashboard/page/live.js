// The widget: one store for the model, a panel and a chart for each view of it.

const STOPPED = "Kernel stopped, or cut off. If it was restarted, run this cell again.";

function rangeBar(store, chart) {
  const text = el("span");
  const button = (label, act) => el("button", { type: "button", class: "mb-button", onclick: act }, label);
  const zoom = button("Zoom in", () => chart.zoomIn());
  const clear = button("Back to live", () => chart.clear());
  const bar = el("div", { class: "mb-range", hidden: true }, text, zoom, clear);
  bar.show = () => {
    bar.hidden = !store.range;
    write(text, store.range ? store.range.text : "");
  };
  return bar;
}

function windowChoice(store) {
  const now = store.model.get("window");
  const sizes = [...new Set([100, 300, 600, 1000, 3000, now])].sort((a, b) => a - b);
  const select = el("select", { title: "How many of the newest batches are drawn" },
    ...sizes.map((n) => el("option", { value: n }, n.toLocaleString("en-US"))));
  select.value = String(now);
  select.addEventListener("change", () => {
    store.model.set("window", Number(select.value));
    store.model.save_changes();
    store.synced = false; // the kernel has the older batches
    store.asked = 0;
  });
  return el("label", { class: "mb-field mb-window" }, el("span", {}, "Batches drawn"), select);
}

function show(store, parent) {
  const root = el("section", { class: "mblab", "aria-label": "mblab dashboard" });
  const banner = el("div", { class: "mb-banner", role: "alert" });
  const body = el("div", { class: "mb-body" });
  const controls = el("div");
  const charts = el("div", { class: "mb-charts" });
  body.append(controls, charts);
  root.append(banner, body);
  parent.append(root);
  const panel = new Panel(store, controls);
  const chart = new Chart(store, charts);
  const range = rangeBar(store, chart);
  body.append(el("div", { class: "mb-line" }, range, el("span", { class: "mb-grow" }), windowChoice(store)));

  const life = () => {
    const gone = store.state.gone || (store.stopped ? STOPPED : "");
    write(banner, gone);
    root.classList.toggle("mb-stale", !!gone);
    body.toggleAttribute("inert", !!gone);
    const before = root.dataset.life;
    root.dataset.life = gone ? "stopped" : "alive";
    if (gone) write(panel.pill, "no answer"); // what it last said is no longer known to be so
    else if (before === "stopped") panel.showState();
  };
  let fading = 0;
  const ghost = () => {
    clearTimeout(fading);
    chart.ghost = store.ghost?.error ? null : store.ghost;
    panel.predict(store.ghost ? store.ghost.text : "");
    fading = setTimeout(() => {
      chart.ghost = null;
      panel.predict("");
      chart.draw();
    }, 4000);
    chart.draw();
  };
  const hear = {
    rows: () => {
      panel.showTiles();
      chart.draw();
    },
    state: () => {
      chart.target = store.state.target_s;
      root.dataset.status = store.state.status;
      panel.showState();
      life();
      chart.draw();
    },
    orders: () => panel.showOrders(),
    answer: () => {
      range.show();
      panel.showAdvice(store.advice);
    },
    ghost,
    life,
  };
  const listen = (what) => hear[what]();
  store.views.add(listen);
  panel.showState();
  panel.showOrders();
  if (store.synced) hear.state();
  return () => {
    store.views.delete(listen);
    clearTimeout(fading);
    chart.close();
  };
}

export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = new Store(model);
      return () => store.close();
    },
    render({ el: parent }) {
      return show(store, parent);
    },
  };
};
