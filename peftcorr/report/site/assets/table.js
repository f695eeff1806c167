// The table of a board, by DataTables: sorted, searched and filtered; and its rows as CSV.
"use strict";

peftcorr.table = (() => {
  const { boards } = peftcorr.read("boards");
  // DataTables takes what is shown and what is searched for HTML, and what is ordered for a text.
  const text = (name) => (row, type) =>
    type === "display" || type === "filter" ? peftcorr.escaped(row[name]) : row[name];
  const number = (value, written) => (row, type) => {
    const found = value(row);
    if (type === "display") return peftcorr.escaped(written(row, found));
    return found === null ? -Infinity : found;
  };
  const listeners = [];
  let table = null;
  let board = null;

  const strategy = (row, type) => {
    if (type !== "display") return text("label")(row, type);
    const seeds = row.seeds > 1 ? ` <small>${row.seeds} seeds</small>` : "";
    return `<a href="${peftcorr.runPage(row.runs[0])}">${peftcorr.escaped(row.label)}</a>${seeds}`;
  };

  const columnsOf = (one) => {
    const ranked = one.alphas.indexOf(one.ranked);
    const scores = one.alphas.map((alpha, place) => ({
      title: `PCK@${alpha}`,
      data: number((row) => row.pck[place][0], (row) => peftcorr.spread(row.pck[place], place === ranked)),
    }));
    const image = {
      title: `PCK@${one.ranked} per image`,
      data: number((row) => row.image[ranked], (row, value) => peftcorr.fixed(value)),
    };
    const texts = [
      { title: "Strategy", data: strategy, className: "strategy" },
      { title: "Backbone", data: text("backbone") },
      { title: "Trained on", data: text("trained") },
    ];
    texts.forEach((column) => (column.type = "string")); // or what looks like an element is left out of the search
    const amounts = [
      ["Parameters", "params", peftcorr.count], ["Gain", "gain", peftcorr.signed], ["Time", "seconds", peftcorr.duration],
      ["Memory", "memory", peftcorr.memory], ["Adapter", "bytes", peftcorr.memory],
    ].map(([title, name, written]) => ({ title, data: number((row) => row[name], (row, value) => written(value)) }));
    const [params, gain, ...costs] = amounts;
    const numbers = [params, ...scores, ...(ranked < 0 ? [] : [image]), gain, ...costs];
    numbers.forEach((column) =>
      Object.assign(column, { searchable: false, type: "num", className: "number", orderSequence: ["desc", "asc"] })
    );
    return { columns: [...texts, ...numbers], first: texts.length + 1 + Math.max(ranked, 0) };
  };

  const say = () => {
    const { recordsDisplay, recordsTotal } = table.page.info();
    document.getElementById("count").textContent =
      `${peftcorr.count(recordsDisplay)} of ${peftcorr.count(recordsTotal)} rows`;
  };

  const drawn = () => {
    say();
    listeners.forEach((listener) => listener());
  };

  const show = (one) => {
    board = one;
    const place = document.getElementById("table-place");
    if (table !== null) table.destroy(true);
    const made = document.createElement("table");
    made.className = "display compact";
    made.setAttribute("aria-label", one.title);
    place.replaceChildren(made);
    document.getElementById("note").textContent = one.note;
    peftcorr.filters.fit(one.rows);
    const { columns, first } = columnsOf(one);
    table = jQuery(made).DataTable({
      data: one.rows,
      columns,
      order: [[first, "desc"]],
      deferRender: true,
      autoWidth: false,
      pageLength: 25,
      lengthMenu: [10, 25, 100, 500],
      layout: { topStart: "pageLength", topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
      language: { search: "Search", lengthMenu: "_MENU_ rows a page", emptyTable: "No row", zeroRecords: "No such row" },
    });
    drawn();
    table.on("draw", drawn);
  };

  // Load the rows of a board from beside the page, once.
  const choose = (place) => {
    const known = peftcorr.boards[place];
    if (known) return show(known);
    const script = document.createElement("script");
    script.src = boards[place].file;
    script.addEventListener("load", () => show(peftcorr.boards[place]));
    document.head.append(script);
    return undefined;
  };

  const shown = () => table.rows({ search: "applied", order: "applied" }).data().toArray();

  const csv = () => {
    const names = ["strategy", "method", "backbone", "trained_on", "seeds", "trainable_parameters", "total_parameters"];
    const scores = board.alphas.flatMap((alpha) => ["", "_sd", "_low", "_high"].map((end) => `per_keypoint@${alpha}${end}`));
    const images = board.alphas.map((alpha) => `per_image@${alpha}`);
    const costs = ["gain", "train_seconds", "peak_memory_bytes", "adapter_bytes", "runs"];
    const lines = shown().map((row) => [
      row.label, row.method, row.backbone, row.trained, row.seeds, row.params, row.total, ...row.pck.flat(), ...row.image,
      row.gain, row.seconds, row.memory, row.bytes, row.runs.join(" "),
    ]);
    const cell = (value) => {
      if (value === null) return "";
      // A spreadsheet would compute a text that begins like a formula.
      const written = typeof value === "string" && /^[=+\-@]./.test(value) ? `'${value}` : String(value);
      return /[",\n\r]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
    };
    const all = [[...names, ...scores, ...images, ...costs], ...lines];
    return all.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };

  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "leaderboard-shown.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const start = () => {
    jQuery.fn.dataTable.ext.search.push((settings, words, place, row) => peftcorr.filters.passes(row));
    const selected = document.getElementById("board");
    selected.addEventListener("change", () => choose(Number(selected.value)));
    document.getElementById("download").addEventListener("click", download);
    document.getElementById("reset").addEventListener("click", () => {
      peftcorr.filters.forget();
      table.search("");
      peftcorr.filters.fit(board.rows);
      table.draw();
    });
    peftcorr.filters.start(() => table.draw());
    selected.value = "0";
    choose(0);
  };

  start();
  return { shown, board: () => board, whenDrawn: (listener) => listeners.push(listener) };
})();
