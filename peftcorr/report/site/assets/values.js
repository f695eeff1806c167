// How values are written, and the marks of strategies; what the other scripts share.
"use strict";

window.peftcorr = (() => {
  const MISSING = "-";
  const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

  const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => ENTITIES[letter]);

  // Plotly knows a few tags and these three entities alone.
  const plotted = (text, most = 60) => {
    const letters = Array.from(String(text));
    const short = letters.length > most ? letters.slice(0, most - 1).join("") + "…" : letters.join("");
    return short.replace(/[&<>]/g, (letter) => ENTITIES[letter]);
  };

  const count = (value) => (value === null ? MISSING : value.toLocaleString("en-US"));

  // What rounds to nothing has no minus sign.
  const fixed = (value, decimals = 2) =>
    value === null ? MISSING : Number(value.toFixed(decimals)).toFixed(decimals);

  const signed = (value) => (value === null ? MISSING : fixed(value).replace(/^(?!-)/, "+"));

  const spread = ([mean, deviation, low, high], wide) => {
    if (mean === null) return MISSING;
    const shown = deviation === null ? fixed(mean) : `${fixed(mean)} ± ${fixed(deviation)}`;
    return wide && low !== null ? `${shown} [${fixed(low, 1)}, ${fixed(high, 1)}]` : shown;
  };

  const duration = (seconds) => {
    if (!seconds) return MISSING;
    const two = (number) => String(number).padStart(2, "0");
    const whole = Math.round(seconds);
    if (whole < 60) return whole ? `${whole} s` : "<1 s";
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    const minutes = Math.round(seconds / 60);
    return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  };

  const memory = (bytes) => {
    if (!bytes) return MISSING;
    if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
    if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
    return bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes} B`;
  };

  // Okabe and Ito's palette, dark enough on white; as many colours as have no divisor in common with the shapes, so
  // that no two of the first 77 strategies have the same colour and shape.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#B8860B", "#882255"];
  const SHAPES = [
    "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon", "star", "hexagram",
    "bowtie",
  ];
  const marks = (names) => {
    const found = new Map();
    names.forEach((name, place) => {
      const open = place >= COLOURS.length * SHAPES.length ? "-open" : "";
      found.set(name, { color: COLOURS[place % COLOURS.length], symbol: SHAPES[place % SHAPES.length] + open });
    });
    return found;
  };

  const read = (id) => JSON.parse(document.getElementById(id).textContent);

  const runPage = (run) => `runs/${encodeURIComponent(run)}.html`;

  // What every chart has in common; a chart gives its own axes.
  const layout = (own) => ({
    font: { family: "system-ui, sans-serif", size: 13, color: "#1f2328" },
    margin: { l: 60, r: 16, t: 16, b: 56 },
    hovermode: "closest",
    hoverlabel: { align: "left" },
    legend: { itemsizing: "constant" },
    ...own,
  });
  const settings = { responsive: true, displayModeBar: false, displaylogo: false };

  // Plotly draws, and hides the picture that it measures texts in from those who cannot see either.
  const draw = (id, traces, own) =>
    Plotly.react(id, traces, layout(own), settings).then(() =>
      document.getElementById("js-plotly-tester").setAttribute("aria-hidden", "true")
    );

  const narrow = () => window.innerWidth < 700;

  const thresholdName = () => (narrow() ? "threshold α" : "threshold α, as a share of the reference length");

  return {
    boards: {}, MISSING, COLOURS, escaped, plotted, count, fixed, signed, spread, duration, memory, marks, read, runPage,
    draw, narrow, thresholdName,
  };
})();
