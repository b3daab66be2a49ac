// Charts over time, drawn by uPlot: bars that stand on one another, or lines. What is drawn is a figure of
// `app/api/pages/overview_figures.py`; its times are seconds since 1970 and shown in the reader's zone.
"use strict";

(() => {
  // From which distance of two ticks on; what a label says; what it says besides at the first one, where the year and
  // where the day changes. As uPlot wants them.
  const LABELS = [
    [365 * 86400, "{YYYY}", null, null, null, null, null, null, 1],
    [28 * 86400, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{MMM} {D}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
    [0.001, "{HH}:{mm}:{ss}", "\n{MMM} {D}", null, "\n{MMM} {D}", null, null, null, 1],
  ];
  const WHOLE = Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((first) => first * 10 ** power)).flat();
  const BETWEEN = 0.12; // of a step: from one bar to the next
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
  const [minute, second, date] = ["{HH}:{mm}", "{HH}:{mm}:{ss}", "{MMM} {D}"].map((form) => uPlot.fmtDate(form));

  function when({ at, step }, place) {
    const [from, to] = [at[place], at[place] + step].map((seconds) => new Date(1000 * seconds));
    const time = step < 60 ? second : minute;
    return step < 86400 ? `${date(from)}, ${time(from)} – ${time(to)}` : date(from);
  }

  // The ends of bars that stand on one another: each begins where the one below it ends.
  function stacked(series) {
    let below = null;
    return series.map(({ values }) => (below = values.map((value, place) => (below ? below[place] : 0) + value)));
  }

  const bars = (step) => (plot, series, from, to) => {
    const fill = new Path2D();
    const [x, y] = ["x", "y"].map((axis) => (value) => Math.round(plot.valToPos(value, axis, true)));
    const [middles, ends, begins] = [plot.data[0], plot.data[series], series > 1 ? plot.data[series - 1] : null];
    const half = ((1 - BETWEEN) * step) / 2;
    for (let place = from; place <= to; place++) {
      const begin = begins ? begins[place] : 0;
      if (ends[place] <= begin) continue;
      const [left, right] = [x(middles[place] - half), x(middles[place] + half)];
      // What is there at all is seen, were it one call among a million.
      const bottom = y(begin);
      const top = Math.min(y(ends[place]), bottom - 1);
      fill.rect(left, top, Math.max(1, right - left), bottom - top);
    }
    return { fill };
  };

  // A line has two ends: a step whose neighbours have no value would not be seen without a dot.
  function alone(values) {
    const has = (place) => (values[place] ?? null) !== null;
    return [...values.keys()].filter((place) => has(place) && !has(place - 1) && !has(place + 1));
  }

  // Beside the chart, as wide as its longest label; but half of a time, which may stand below the corner, has room too.
  function room(plot, labels, place, cycle) {
    const axis = plot.axes[place];
    if (cycle > 1) return axis._size;
    plot.ctx.font = axis.font[0];
    const longest = Math.max(0, ...(labels || []).map((label) => plot.ctx.measureText(label || "").width));
    return Math.max(30, Math.ceil(longest / devicePixelRatio) + axis.gap + axis.ticks.size);
  }

  // The vertical axis and its scale: of powers of ten where the figure names them, from nought where not.
  function upright({ prefix = "", suffix = "", top, whole, powers }) {
    if (!powers) {
      return {
        scale: { range: (plot, low, high) => [0, top || 1.05 * high || 1] },
        axis: {
          values: (plot, values) => values.map((value) => `${prefix}${number.format(value)}${suffix}`),
          ...(whole && { incrs: WHOLE }),
        },
      };
    }
    const power = (value, round) => 10 ** round(Math.log10(value));
    return {
      scale: {
        distr: 3,
        range: (plot, low, high) =>
          low > 0 ? [power(low, Math.floor), Math.max(power(high, Math.ceil), 10 * power(low, Math.floor))] : [0.001, 1],
      },
      axis: {
        // With some room for what powers of ten lose to rounding.
        splits: (plot, place, low, high) => powers.map(([value]) => value).filter((value) => value > 0.99 * low && value < 1.01 * high),
        filter: (plot, values) => values,
        values: (plot, values) => values.map((value) => new Map(powers).get(value)),
      },
    };
  }

  function options(chart, { series, stack, at, since, until, step, axis }) {
    const style = getComputedStyle(chart);
    const colour = (name) => style.getPropertyValue(name).trim();
    const line = { stroke: colour("--line"), width: 1 };
    const axes = { font: `12px ${style.fontFamily}`, stroke: colour("--muted"), grid: line, ticks: { ...line, size: 4 }, gap: 4 };
    const y = upright(axis);
    const bar = (one) => ({ paths: bars(step), fill: colour(one.colour), points: { show: false } });
    const curve = (one) => ({
      stroke: colour(one.colour),
      ...(one.dotted ? { width: 1.5, dash: [2, 3] } : { width: 2 }),
      points: { show: false, filter: () => alone(one.values), size: 5, fill: colour(one.colour) },
    });
    return {
      width: chart.clientWidth,
      height: chart.clientHeight,
      legend: { show: false },
      cursor: { y: false, points: { show: !stack, size: 6 } },
      scales: {
        // All of it, but for what the reader has drawn over.
        x: { range: (plot, low, high) => (low <= at[0] + step / 2 && high >= at.at(-1) + step / 2 ? [since, until] : [low, high]) },
        y: y.scale,
      },
      axes: [{ ...axes, values: LABELS, space: 64, size: 40 }, { ...axes, ...y.axis, space: 36, size: room }],
      series: [{}, ...series.map(stack ? bar : curve)],
      hooks: {
        setScale: [(plot, scale) => scale === "x" && keep(chart, plot.scales.x)],
        setCursor: [(plot) => tell(chart, plot)],
        draw: [() => { chart.dataset.drawn = ""; }],
      },
    };
  }

  function keep(chart, { min, max }) {
    const { since, until } = chart.figure;
    chart.zoomed = min === since && max === until ? null : { min, max };
  }

  // What the step under the pointer holds.
  function tell(chart, plot) {
    const { series, stack } = chart.figure;
    const place = plot.cursor.idx ?? null;
    const rows = place === null ? [] : series.filter(({ texts }) => texts[place] !== null);
    chart.pointed = place;
    chart.told.hidden = place === null;
    if (place === null) return;
    const entries = rows.map(({ name, colour, texts }) => {
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      swatch.style.background = `var(${colour})`;
      const entry = document.createElement("p");
      entry.append(swatch, `${name} `, Object.assign(document.createElement("b"), { textContent: texts[place] }));
      return entry;
    });
    const head = Object.assign(document.createElement("p"), { textContent: when(chart.figure, place) });
    if (!entries.length) entries.push(Object.assign(document.createElement("p"), { textContent: "nothing" }));
    // From top to bottom, as they stand.
    chart.told.replaceChildren(head, ...(stack ? entries.reverse() : entries));
    const [middle, width] = [plot.valToPos(plot.data[0][place], "x"), chart.told.offsetWidth];
    const left = middle + 12 + width > plot.over.clientWidth ? middle - 12 - width : middle + 12;
    chart.told.style.left = `${Math.max(0, left)}px`;
  }

  function point(chart, place) {
    const { plot } = chart;
    plot.setCursor(place === null ? { left: -10, top: -10 } : { left: plot.valToPos(plot.data[0][place], "x"), top: 0 });
  }

  // What the pointer does, with keys: one step after the other, from the newest on.
  function onKey(chart, event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity, Escape: 0 }[event.key];
    if (by === undefined || !chart.plot) return;
    event.preventDefault();
    const last = chart.figure.at.length - 1;
    const next = chart.pointed === null ? last : Math.max(0, Math.min(last, chart.pointed + by));
    point(chart, event.key === "Escape" ? null : next);
  }

  function begin(chart) {
    chart.told = Object.assign(document.createElement("div"), { className: "chart-told", hidden: true });
    chart.told.setAttribute("role", "status");
    chart.pointed = chart.zoomed = chart.plot = null;
    chart.addEventListener("keydown", (event) => onKey(chart, event));
    new ResizeObserver(() => {
      const { plot, clientWidth: width, clientHeight: height } = chart;
      if (!chart.isConnected) plot?.destroy();
      else if (plot && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
    }).observe(chart);
  }

  function draw(chart) {
    if (!chart.told) begin(chart);
    const { figure, zoomed, pointed } = chart;
    chart.plot?.destroy();
    chart.plot = null;
    if (figure.nothing) {
      chart.replaceChildren(Object.assign(document.createElement("p"), { className: "chart-nothing", textContent: figure.nothing }));
      chart.dataset.drawn = "";
      return;
    }
    chart.replaceChildren();
    const { at, step, series, stack, since, until } = figure;
    const values = stack ? stacked(series) : series.map((one) => one.values);
    chart.plot = new uPlot(options(chart, figure), [at.map((from) => from + step / 2), ...values], chart);
    chart.plot.over.append(chart.told);
    // It is drawn anew every few seconds, and the reader's place is kept.
    if (zoomed && zoomed.min < until && zoomed.max > since) chart.plot.setScale("x", zoomed);
    if (pointed !== null) point(chart, Math.min(pointed, at.length - 1));
  }

  hullspeed.drawing = draw;
})();
