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

  // Charts. `<div class="chart" data-figure="URL">`: the URL gives what the page's `hullspeed.drawing` draws, and again
  // every `data-every` seconds while the page is looked at.
  const draw = (chart) => chart.figure && hullspeed.drawing && hullspeed.drawing(chart);

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

  // What draws may be large and come in its own time: what it is to draw is asked for meanwhile.
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
  window.hullspeed = { begin, copy };
})();
