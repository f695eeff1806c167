// The charts of the rows that the table shows, by Plotly. Each is drawn when it comes into sight, and again after the
// table has been painted.
"use strict";

(() => {
  const { methods } = peftcorr.read("boards");
  const marks = peftcorr.marks(methods);
  const { plotted } = peftcorr;
  const LINES = 10;
  const HEAT = 15;
  const WAIT = 120; // milliseconds without another change

  const name = (row) => `${row.label} (${row.backbone}; ${row.trained})`;
  const ranked = (board) => board.alphas.indexOf(board.ranked);

  // The rows that no other beats in PCK with as few parameters, by parameters.
  const frontOf = (points) => {
    const rising = [...points].sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return rising.filter((point) => point.y > best && ((best = point.y), true));
  };

  // Parameters on a logarithmic axis, with a place for none to the left of the fewest.
  const axisOf = (counts) => {
    const some = counts.filter((one) => one > 0);
    const fewest = some.length ? Math.min(...some) : 1e5;
    const most = some.length ? Math.max(...some) : 1e6;
    const none = Math.log10(fewest) - 0.8;
    const between = most / fewest < 300 ? [1, 2, 5] : [1];
    const marked = [];
    for (let power = Math.floor(Math.log10(fewest)); power <= Math.log10(most) + 0.3; power += 1)
      marked.push(...between.map((digit) => digit * 10 ** power).filter((one) => one >= fewest && one <= 2 * most));
    const written = (one) => {
      const power = Math.min(Math.floor(Math.log10(one) / 3), 3);
      return `${Number((one / 1000 ** power).toPrecision(3))}${["", "k", "M", "G"][power]}`;
    };
    return {
      place: (count) => (count > 0 ? Math.log10(count) : none),
      range: [none - 0.15, Math.log10(most) + 0.3],
      ticks: [...(counts.includes(0) ? [none] : []), ...marked.map(Math.log10)],
      names: [...(counts.includes(0) ? ["0"] : []), ...marked.map(written)],
    };
  };

  const pareto = (board, rows) => {
    const place = ranked(board);
    const known = rows.filter((row) => row.params !== null && place >= 0 && row.pck[place][0] !== null);
    const axis = axisOf(known.map((row) => row.params));
    const points = known.map((row) => ({ row, x: axis.place(row.params), y: row.pck[place][0] }));
    const traces = methods
      .map((method) => [method, points.filter((point) => point.row.method === method)])
      .filter(([, own]) => own.length)
      .map(([method, own]) => ({
        type: "scatter",
        mode: "markers",
        name: plotted(method, 30),
        x: own.map((point) => point.x),
        y: own.map((point) => point.y),
        marker: { ...marks.get(method), size: 9, line: { width: 1, color: "#ffffff" } },
        customdata: own.map((point) => point.row.runs[0]),
        text: own.map((point) => [
          plotted(point.row.label), plotted(point.row.backbone), `trained on ${plotted(point.row.trained)}`,
          `${peftcorr.count(point.row.params)} parameters`, `PCK@${board.ranked} ${peftcorr.spread(point.row.pck[place], true)}`,
          `gain ${peftcorr.signed(point.row.gain)}`,
        ].join("<br>")),
        hovertemplate: "%{text}<extra></extra>",
      }));
    const front = frontOf(points);
    traces.unshift({
      type: "scatter", mode: "lines", name: "Pareto front", hoverinfo: "skip",
      x: front.map((point) => point.x), y: front.map((point) => point.y),
      line: { shape: "hv", color: "#6e7781", width: 1.5 },
    });
    const budget = peftcorr.filters.limits.params;
    const line = { type: "line", xref: "x", yref: "paper", y0: 0, y1: 1, line: { color: "#cf222e", dash: "dash", width: 1.5 } };
    const at = budget === null ? null : axis.place(budget);
    return {
      traces,
      layout: {
        xaxis: { title: { text: "trainable parameters" }, tickvals: axis.ticks, ticktext: axis.names, range: axis.range, zeroline: false },
        yaxis: { title: { text: `PCK@${board.ranked} per keypoint (%)` }, zeroline: false },
        shapes: at === null ? [] : [{ ...line, x0: at, x1: at }],
        annotations: at === null ? [] : [
          { x: at, y: 1, xref: "x", yref: "paper", text: "budget", showarrow: false, xanchor: "right", yanchor: "top", font: { color: "#cf222e" } },
        ],
        legend: peftcorr.narrow() ? { orientation: "h", y: -0.25 } : {},
        height: peftcorr.narrow() ? 560 : 480,
      },
    };
  };

  const thresholds = (board, rows) => ({
    traces: rows.slice(0, LINES).map((row, number) => ({
      type: "scatter",
      mode: "lines+markers",
      name: plotted(name(row), peftcorr.narrow() ? 36 : 60),
      x: board.alphas.map(Number),
      y: row.pck.map(([mean]) => mean),
      line: { color: peftcorr.COLOURS[number % peftcorr.COLOURS.length], dash: number < peftcorr.COLOURS.length ? "solid" : "dot" },
      marker: { symbol: marks.get(row.method).symbol, size: 8 },
      hovertemplate: "α %{x}: %{y:.2f}<extra>%{fullData.name}</extra>",
    })),
    layout: {
      xaxis: { title: { text: peftcorr.thresholdName() }, rangemode: "tozero" },
      yaxis: { title: { text: "PCK per keypoint (%)" }, range: [0, 100] },
      legend: { orientation: "h", y: -0.2 },
      height: peftcorr.narrow() ? 640 : 560,
    },
  });

  // A table, which everybody can read: the shade follows the number.
  const categories = (board, rows) => {
    const place = document.getElementById("categories");
    const cell = (kind, text, className) => {
      const made = document.createElement(kind);
      made.textContent = text;
      if (className) made.className = className;
      if (kind === "th") made.scope = className === "row" ? "row" : "col";
      return made;
    };
    const line = (cells) => {
      const made = document.createElement("tr");
      made.append(...cells);
      return made;
    };
    const shade = (value) => (value === null ? "none" : `shade${Math.min(Math.floor(value / 10), 9)}`);
    const header = line([cell("th", `PCK@${board.ranked}`), ...board.categories.map((one) => cell("th", one))]);
    const body = rows.slice(0, HEAT).map((row) =>
      line([
        cell("th", name(row), "row"),
        ...row.categories.map((value) => cell("td", peftcorr.fixed(value, 1), shade(value))),
      ])
    );
    const table = document.createElement("table");
    table.className = "matrix";
    table.append(document.createElement("thead"), document.createElement("tbody"));
    table.tHead.append(header);
    table.tBodies[0].append(...body);
    place.replaceChildren(table);
  };

  const charts = { pareto, thresholds };
  const inSight = new Set();
  const drawn = new Set();
  let waiting = null;

  const draw = (id) => {
    if (id === "categories") {
      categories(peftcorr.table.board(), peftcorr.table.shown());
      return;
    }
    const { traces, layout } = charts[id](peftcorr.table.board(), peftcorr.table.shown());
    peftcorr.draw(id, traces, layout);
    if (id === "pareto" && !drawn.has(id)) {
      document.getElementById(id).on("plotly_click", (event) => {
        const run = event.points[0].customdata;
        if (run) window.location.href = peftcorr.runPage(run);
      });
    }
    drawn.add(id);
  };

  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => inSight.forEach(draw), WAIT);
  };

  const watcher = new IntersectionObserver((entries) => {
    entries.forEach(({ target, isIntersecting }) => {
      if (isIntersecting) inSight.add(target.id);
      else inSight.delete(target.id);
    });
    soon();
  }, { rootMargin: "200px" });
  [...Object.keys(charts), "categories"].forEach((id) => watcher.observe(document.getElementById(id)));
  peftcorr.table.whenDrawn(soon);
})();
