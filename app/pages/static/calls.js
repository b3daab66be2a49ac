// Calls: times of the form in the reader's zone, addresses without what is not set, new calls as they arrive.
"use strict";

(() => {
  const TIMES = ["since", "until"];
  const PAUSE = 2000;
  const MOST = 500;
  const form = () => document.getElementById("filters");
  const two = (value) => String(value).padStart(2, "0");

  // The server writes the times of the form in UTC, which is all that it knows.
  function toLocal() {
    for (const name of TIMES) {
      const input = document.getElementById(name);
      if (!input || input.dataset.local) continue;
      input.dataset.local = "yes";
      const label = document.querySelector(`label[for="${name}"]`);
      label.textContent = label.textContent.replace(" (UTC)", "");
      if (!input.value) continue;
      const at = new Date(`${input.value}Z`);
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      input.value = `${day}T${two(at.getHours())}:${two(at.getMinutes())}`;
    }
  }

  const ordered = (parameters) => [...parameters].map(String).sort().join("&");

  document.addEventListener("htmx:configRequest", (event) => {
    if (event.target !== form()) return;
    const given = event.detail.parameters;
    const custom = given.last === "custom";
    for (const name of TIMES) {
      if (!custom) delete given[name];
      else if (given[name]) given[name] = new Date(given[name]).toISOString().replace(":00.000Z", "Z");
    }
    if (custom && (given.since || given.until)) delete given.last;
    for (const [name, value] of Object.entries(given)) {
      if (!String(value).trim()) delete given[name];
    }
    // What has been asked already is not asked again when a field is left.
    if (ordered(Object.entries(given)) === ordered(new URLSearchParams(location.search))) event.preventDefault();
  });

  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id !== "found") return;
    for (const problem of document.querySelectorAll("#filters .problem")) {
      const field = document.getElementById(problem.id.replace("problem-", ""));
      if (field) field.toggleAttribute("aria-invalid", false);
      if (field && problem.textContent.trim()) field.setAttribute("aria-invalid", "true");
    }
  });

  // New calls are put where they belong among those that are shown, which stay where they are.
  async function follow() {
    const rows = document.getElementById("rows");
    if (!rows || rows.dataset.live === undefined || document.hidden) return;
    const asked = location.search;
    const reply = await fetch(`/ui/calls${asked}`, { headers: { "hx-request": "true", "hx-target": "rows" } });
    if (!reply.ok || !rows.isConnected || location.search !== asked) return;
    const holder = document.createElement("template");
    holder.innerHTML = `<table><tbody>${await reply.text()}</tbody></table>`;
    const found = [...holder.content.querySelectorAll("tr")];
    if (!found.length) return;
    if (rows.tagName !== "TBODY") {
      htmx.ajax("GET", location.pathname + asked, { target: "#found" });
      return;
    }
    const fresh = found.filter((row) => !document.getElementById(row.id));
    for (const row of fresh.reverse()) {
      const after = [...rows.children].find((shown) => shown.dataset.at <= row.dataset.at);
      row.classList.add("fresh");
      rows.insertBefore(row, after || null);
    }
    while (rows.children.length > MOST) rows.lastElementChild.remove();
    if (!fresh.length) return;
    window.hullspeed.begin(rows);
    document.getElementById("told").textContent = `${fresh.length} new ${fresh.length === 1 ? "call" : "calls"}.`;
  }

  async function forever() {
    try {
      await follow();
    } catch {
      // The proxy is away for a moment; the next look may find it.
    }
    setTimeout(forever, PAUSE);
  }

  document.addEventListener("DOMContentLoaded", () => {
    toLocal();
    if (form()) forever();
  });
})();
