// What makes a report's charts and tables move. Data are only ever written as text, never as markup.
"use strict";
(() => {
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, text) => { const node = document.createElement(tag); node.textContent = text; return node; };
  const shown = (value) => (value === null ? "" : String(value));

  for (const box of document.querySelectorAll("[data-chart]")) {
    vegaEmbed(box, data(box.dataset.chart), {
      renderer: "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
    });
  }

  for (const box of document.querySelectorAll("[data-rows]")) {
    const { columns, rows } = data(box.dataset.rows);
    const size = 25;
    let chosen = rows, page = 0, by = -1, down = false;
    const bar = document.createElement("nav");
    const search = document.createElement("input");
    search.type = "search"; search.placeholder = "rows that contain…"; search.setAttribute("aria-label", search.placeholder);
    const back = make("button", "‹ back"), on = make("button", "on ›"), save = make("button", "save as CSV"), count = make("span", "");
    bar.append(search, back, on, count, save);
    const table = document.createElement("table");
    box.append(bar, table);

    const draw = () => {
      const last = Math.max(0, Math.ceil(chosen.length / size) - 1);
      page = Math.min(Math.max(0, page), last);
      const head = document.createElement("tr");
      columns.forEach((name, i) => {
        const cell = document.createElement("th"), button = make("button", name + (i === by ? (down ? " ▼" : " ▲") : ""));
        cell.scope = "col";
        button.onclick = () => { down = i === by && !down; by = i; sort(); draw(); };
        cell.append(button); head.append(cell);
      });
      const body = chosen.slice(page * size, (page + 1) * size).map((row) => {
        const line = document.createElement("tr");
        line.append(...row.map((value) => make("td", shown(value))));
        return line;
      });
      table.replaceChildren(head, ...body);
      count.textContent = `${chosen.length.toLocaleString("en")} rows, page ${page + 1} of ${last + 1}`;
    };
    const sort = () => {
      if (by < 0) return;
      const order = (a, b) => (a === null) - (b === null) || (typeof a === "number" && typeof b === "number" ? a - b : shown(a).localeCompare(shown(b)));
      chosen = [...chosen].sort((a, b) => (down ? -1 : 1) * order(a[by], b[by]));
    };
    search.oninput = () => {
      const wanted = search.value.toLowerCase();
      chosen = rows.filter((row) => row.some((value) => shown(value).toLowerCase().includes(wanted)));
      page = 0; sort(); draw();
    };
    back.onclick = () => { page -= 1; draw(); };
    on.onclick = () => { page += 1; draw(); };
    save.onclick = () => {
      const field = (value) => (/[",\n\r]/.test(shown(value)) ? `"${shown(value).replaceAll('"', '""')}"` : shown(value));
      const text = [columns, ...rows].map((row) => row.map(field).join(",")).join("\n") + "\n";
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.download = box.dataset.rows + ".csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    };
    draw();
  }
})();
