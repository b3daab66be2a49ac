// Planes of cost and quality, drawn by plotly.js: a figure is its {data, layout}.
"use strict";

(() => {
  const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layoutOf(given) {
    const axis = { gridcolor: styled("--line"), zerolinecolor: styled("--line"), linecolor: styled("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: styled("--muted"), size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 48, r: 10, t: 8, b: 34 }, hovermode: "x unified", showlegend: true,
      legend: { orientation: "h", y: -0.16, font: { size: 12 } },
      hoverlabel: { bgcolor: styled("--card"), bordercolor: styled("--line"), font: { color: styled("--text") } },
      ...given,
      xaxis: { ...axis, ...given.xaxis },
      yaxis: { ...axis, ...given.yaxis },
    };
  }

  // Colours are given as names of the style's variables, so that they follow the theme.
  function coloured(value) {
    if (typeof value === "string" && value.startsWith("--")) return styled(value);
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, coloured(inner)]));
    }
    return value;
  }

  hullspeed.drawing = (chart) => {
    // It is large and comes in its own time.
    if (!window.Plotly) return;
    const { data, layout } = coloured(chart.figure);
    Plotly.react(chart, data, layoutOf(layout || {}), { displayModeBar: false, responsive: true });
    chart.dataset.drawn = "";
  };
})();
