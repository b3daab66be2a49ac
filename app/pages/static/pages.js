// What htmx does not do: the theme, rows that lead somewhere, charts, times in the reader's zone. No page needs more
// than its own small file beside this one.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  document.addEventListener("click", (event) => {
    const button = event.target.closest("#theme");
    if (button) {
      root.dataset.theme = dark() ? "light" : "dark";
      localStorage.setItem("hullspeed-theme", root.dataset.theme);
      drawAll();
      return;
    }
    const copying = event.target.closest("button[data-copy]");
    if (copying) {
      copy(copying, document.getElementById(copying.dataset.copy).textContent);
      return;
    }
    // A whole row is as good as the link in it; but not for whoever selects text or means a link of its own.
    const row = event.target.closest("tr.link");
    if (row && !event.target.closest("a, button, input, label") && !String(getSelection())) {
      row.querySelector("a").click();
    }
  });

  // `<button data-copy="ID">` copies the text of that element; the button says so for a moment.
  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Not over plain HTTP to another machine: the old way is.
      const area = Object.assign(document.createElement("textarea"), { value: text, className: "hidden-text" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const said = button.textContent;
    if (said === "Copied") return;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  }

  // Charts. `<div class="chart" data-figure="URL">`: the URL gives plotly's {data, layout}, and again every
  // `data-every` seconds while the page is looked at.
  const styled = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function layoutOf(given) {
    const axis = { gridcolor: styled("--line"), zerolinecolor: styled("--line"), linecolor: styled("--line"), automargin: true };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: styled("--muted"), size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 48, r: 10, t: 8, b: 34 }, hovermode: "x unified", showlegend: true,
      legend: { orientation: "h", y: -0.16, font: { size: 12 } },
      hoverlabel: { bgcolor: styled("--card"), bordercolor: styled("--line"), font: { color: styled("--text") } },
      ...given,
    };
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (name === "yaxis2" && !given.yaxis2) continue;
      layout[name] = { ...axis, ...(given[name] || {}) };
    }
    return layout;
  }

  // plotly shows a time as it is written.
  const UTC = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;
  function local(text) {
    const at = new Date(text);
    return new Date(at - 60000 * at.getTimezoneOffset()).toISOString().slice(0, -1);
  }

  // Colours are given as names of the style's variables, so that they follow the theme; times in UTC with a Z at their
  // end, so that they are shown in the reader's zone.
  function coloured(value) {
    if (typeof value === "string" && value.startsWith("--")) return styled(value);
    if (typeof value === "string" && UTC.test(value)) return local(value);
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, coloured(inner)]));
    }
    return value;
  }

  function draw(chart) {
    if (!chart.figure || !window.Plotly) return;
    const { data, layout } = coloured(chart.figure);
    Plotly.react(chart, data, layoutOf(layout || {}), { displayModeBar: false, responsive: true });
  }

  async function load(chart) {
    try {
      const reply = await fetch(chart.dataset.figure, { headers: { accept: "application/json" } });
      // Whoever is not signed in any more is led to a page.
      if (!reply.ok || !(reply.headers.get("content-type") || "").includes("json")) return;
      chart.figure = await reply.json();
    } catch {
      return; // The proxy is away: what is drawn stays until it is back.
    }
    draw(chart);
  }

  const drawAll = () => document.querySelectorAll(".chart").forEach(draw);

  // plotly is large and comes in its own time: what it is to draw is asked for meanwhile.
  document.addEventListener("load", (event) => event.target.localName === "script" && drawAll(), true);

  function begin(within) {
    for (const chart of within.querySelectorAll(".chart[data-figure]")) {
      if (chart.dataset.begun) continue;
      chart.dataset.begun = "yes";
      load(chart);
      const every = Number(chart.dataset.every || 0);
      if (every) {
        const timer = setInterval(() => {
          if (!chart.isConnected) clearInterval(timer);
          else if (!document.hidden) load(chart);
        }, 1000 * every);
      }
    }
    for (const time of within.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      time.dataset.local = "yes";
      time.title = `${at.toISOString().replace("T", " ").replace("Z", "")} UTC`;
      if (time.dataset.show === "local") {
        const two = (value) => String(value).padStart(2, "0");
        const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
        time.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => begin(document));
  document.addEventListener("htmx:load", (event) => begin(event.detail.elt));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.hullspeed = { draw, begin, copy };
})();
