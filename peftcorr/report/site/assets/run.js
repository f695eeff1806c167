// The curves on a run's page, by Plotly.
"use strict";

(() => {
  const curves = peftcorr.read("curves");
  const draw = (id, traces, layout) => {
    if (document.getElementById(id) !== null) peftcorr.draw(id, traces, layout);
  };

  const steps = curves.validation.map(([step]) => step);
  const traces = [{
    type: "scatter", mode: "lines+markers", name: "validation PCK@0.1", x: steps, y: curves.validation.map(([, pck]) => pck),
    line: { color: peftcorr.COLOURS[0] }, hovertemplate: "step %{x}: %{y:.2f}<extra></extra>",
  }];
  if (curves.losses.length) {
    traces.push({
      type: "scatter", mode: "lines+markers", name: "loss since the validation before", yaxis: "y2", x: steps, y: curves.losses,
      line: { color: peftcorr.COLOURS[1], dash: "dot" }, marker: { symbol: "square" },
      hovertemplate: "step %{x}: %{y:.4f}<extra></extra>",
    });
  }
  const best = curves.best === null ? [] : [
    { type: "line", x0: curves.best, x1: curves.best, yref: "paper", y0: 0, y1: 1, line: { color: "#6e7781", dash: "dash", width: 1.5 } },
  ];
  draw("validation", traces, {
    xaxis: { title: { text: "step" }, rangemode: "tozero" },
    yaxis: { title: { text: "validation PCK@0.1 (%)" } },
    yaxis2: { title: { text: "loss" }, overlaying: "y", side: "right", showgrid: false },
    shapes: best,
    annotations: best.map(({ x0 }) => ({ x: x0, y: 1, yref: "paper", text: "kept", showarrow: false, xanchor: "right", yanchor: "top" })),
    showlegend: curves.losses.length > 0,
    legend: { orientation: "h", y: -0.25 },
    margin: { l: 60, r: curves.losses.length ? 60 : 16, t: 16, b: 56 },
    height: 380,
  });

  const lines = curves.thresholds.flatMap(([title, points], number) => {
    const colour = peftcorr.COLOURS[number % peftcorr.COLOURS.length];
    const x = points.map(([alpha]) => alpha);
    const name = peftcorr.plotted(title);
    const line = {
      type: "scatter", mode: points.length > 10 ? "lines" : "lines+markers", name, legendgroup: title, x,
      y: points.map(([, pck]) => pck), line: { color: colour, dash: number < peftcorr.COLOURS.length ? "solid" : "dot" },
      hovertemplate: "α %{x}: %{y:.2f}<extra>%{fullData.name}</extra>",
    };
    if (points.some(([, , low]) => low === null)) return [line];
    const band = {
      type: "scatter", mode: "lines", legendgroup: title, showlegend: false, hoverinfo: "skip", line: { width: 0 },
      x: [...x, ...[...x].reverse()], fill: "toself", fillcolor: `${colour}26`,
      y: [...points.map(([, , , high]) => high), ...points.map(([, , low]) => low).reverse()],
    };
    return [band, line];
  });
  draw("thresholds", lines, {
    xaxis: { title: { text: peftcorr.thresholdName() }, rangemode: "tozero" },
    yaxis: { title: { text: "PCK per keypoint (%)" }, range: [0, 100] },
    legend: { orientation: "h", y: -0.2 },
    height: 480 + 20 * curves.thresholds.length,
  });
})();
