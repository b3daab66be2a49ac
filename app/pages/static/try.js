// The chat page. A conversation lives in this tab's sessionStorage and nowhere else.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const { ask, rendered, el, usd, seconds, count, share, name, copy } = window.hullspeed;
  const $ = (id) => document.getElementById(id);
  const setup = JSON.parse($("setup").textContent);
  const KEPT = "hullspeed-try";
  const FIELDS = ["model", "tradeoff", "max_cost", "max_tokens", "temperature", "system"];
  const LONGEST = 400; // characters of a system prompt that goes into the address

  let talk = kept() || { session: name("try"), turns: [] };
  let running = null;

  function kept() {
    try {
      const found = JSON.parse(sessionStorage.getItem(KEPT));
      return found && Array.isArray(found.turns) && typeof found.session === "string" ? found : null;
    } catch { return null; }
  }
  function keep() {
    try { sessionStorage.setItem(KEPT, JSON.stringify(talk)); } catch { /* Full, or not allowed: this tab goes on without. */ }
  }

  // ------------------------------------------------------------------ settings, which stand in the address

  const value = (id) => $(id).value.trim();
  const model = () => value("model") || ($("other") ? value("other") : "");

  function readAddress() {
    const given = new URLSearchParams(location.search);
    for (const id of FIELDS) {
      if (!given.has(id)) continue;
      const known = id !== "model" || [...$("model").options].some((option) => option.value === given.get(id));
      if (known) $(id).value = given.get(id);
      else if ($("other")) { $("model").value = ""; $("other").value = given.get(id); }
    }
    if (given.get("prompt")) $("text").value = given.get("prompt");
    const slider = document.querySelector('[data-drives="tradeoff"]');
    if (value("tradeoff")) slider.value = value("tradeoff");
    $("more").open = innerWidth > 1100 || ["max_cost", "max_tokens", "temperature", "system"].some((id) => value(id));
  }
  function writeAddress() {
    const given = new URLSearchParams();
    for (const id of FIELDS) {
      const said = id === "model" ? model() : value(id);
      if (said && !(id === "model" && said === "auto") && !(id === "system" && said.length > LONGEST)) given.set(id, said);
    }
    history.replaceState(null, "", `${location.pathname}${String(given) ? `?${given}` : ""}`);
    if ($("other-row")) $("other-row").hidden = value("model") !== "";
  }

  // The request's fields but its messages; null where a field is wrong, which is then said.
  function settings() {
    const RULES = {
      tradeoff: ["Tradeoff", (n) => n >= 0 && n <= 1, "a number from 0 to 1"],
      max_cost: ["Max cost", (n) => n > 0 && n < Infinity, "a positive number of USD"],
      max_tokens: ["Max tokens", (n) => Number.isInteger(n) && n > 0, "a whole number from 1"],
      temperature: ["Temperature", (n) => n >= 0 && n <= 2, "a number from 0 to 2"],
    };
    const numbers = {}, wrong = [];
    for (const [id, [title, fits, what]] of Object.entries(RULES)) {
      const bad = value(id) !== "" && !fits(Number(value(id)));
      $(id).toggleAttribute("aria-invalid", false);
      if (bad) { wrong.push(`${title}: ${what}, or nothing.`); $(id).setAttribute("aria-invalid", "true"); $(id).closest("details")?.setAttribute("open", ""); }
      else if (value(id) !== "") numbers[id] = Number(value(id));
    }
    if (!model()) wrong.push("Name a model.");
    $("problem").textContent = wrong.join(" ");
    if (wrong.length) return null;
    const routing = {};
    if (numbers.tradeoff !== undefined) routing.tradeoff = numbers.tradeoff;
    if (numbers.max_cost !== undefined) routing.max_cost_usd = numbers.max_cost;
    return {
      model: model(),
      ...(numbers.max_tokens !== undefined && { max_tokens: numbers.max_tokens }),
      ...(numbers.temperature !== undefined && { temperature: numbers.temperature }),
      ...(Object.keys(routing).length && { routing }),
    };
  }

  // What was said so far, without turns that nobody answered: two questions in a row confuse models.
  function messages(upTo) {
    const said = value("system") ? [{ role: "system", content: $("system").value }] : [];
    for (const turn of talk.turns.slice(0, upTo)) {
      const reply = turn.replies.at(-1);
      if (reply?.text) said.push({ role: "user", content: turn.user }, { role: "assistant", content: reply.text });
    }
    return [...said, { role: "user", content: talk.turns[upTo].user }];
  }

  // ------------------------------------------------------------------ asking

  async function answer(place) {
    const given = settings();
    if (given === null || running) return;
    const turn = talk.turns[place];
    const body = { ...given, messages: messages(place) };
    running = { stop: new AbortController() };
    show(true);
    const part = draw(place, { text: "", waiting: true });
    $("said").textContent = "";
    let due = false;
    const reply = await ask(body, {
      session: talk.session, signal: running.stop.signal,
      onText: (now) => {
        // A long reply is drawn anew some times a second, not at every token.
        if (due) return;
        due = true;
        setTimeout(() => { due = false; if (running) follow(() => part.text.replaceChildren(rendered(now.text))); }, 60);
      },
    });
    running = null;
    turn.replies.push({ ...reply, body });
    keep();
    show(false);
    follow(() => draw(place, turn.replies.at(-1)));
    totals();
    announce(reply);
    $("text").focus();
  }

  function announce(reply) {
    const who = reply.model ? `${reply.model}: ` : "";
    const text = reply.text.length > 600 ? `${reply.text.slice(0, 600)} …` : reply.text;
    $("said").textContent = reply.error ? `Error: ${reply.error.message}` : reply.stopped ? "Stopped." : `${who}${text}`;
  }

  function show(asking) {
    $("send").hidden = asking;
    $("stop").hidden = !asking;
    for (const button of document.querySelectorAll("button.again")) button.disabled = asking;
    $("clear").disabled = asking;
  }

  // Stays at the end of the page while somebody reads there.
  function follow(change) {
    const page = document.documentElement;
    const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 160;
    change();
    if (atEnd) page.scrollTop = page.scrollHeight;
  }

  // ------------------------------------------------------------------ the log

  function draw(place, reply) {
    $("nothing").hidden = true;
    let row = $(`turn-${place}`);
    if (!row) {
      row = el("div", { class: "exchange", id: `turn-${place}` }, el("div", { class: "mine" }, el("span", { class: "hidden-text" }, "You: "), talk.turns[place].user), el("div", { class: "card theirs" }));
      $("log").append(row);
    }
    const box = row.lastChild, text = el("div", { class: "spoken" }, rendered(reply.text));
    box.replaceChildren(text);
    if (reply.waiting) {
      text.append(el("p", { class: "muted waiting" }, "…"));
      row.scrollIntoView({ block: "end" });
      return { text };
    }
    if (!reply.text && reply.tools?.length) text.append(el("p", {}, `It wants to call ${reply.tools.join(", ")}, which this page cannot do.`));
    if (!reply.text && !reply.tools?.length && !reply.error && !reply.stopped) text.append(el("p", { class: "muted" }, "The model said nothing."));
    if (reply.finish === "length") text.append(el("p", { class: "notice warn small" }, "Cut at the most tokens that were allowed."));
    if (reply.stopped) text.append(el("p", { class: "notice warn small" }, reply.id ? "Stopped by you; the ledger has it as client_cancelled." : "Stopped by you before anything came."));
    if (reply.error) text.append(trouble(reply));
    box.append(facts(reply), tools(place, reply));
    return { text };
  }

  function trouble({ error, text }) {
    const title = error.status ? `Error ${error.status}${error.code ? `, ${error.code}` : ""}` : text ? "The reply broke off" : `Error${error.code ? `, ${error.code}` : ""}`;
    return el("div", { class: "notice bad" }, el("p", { class: "flat" }, el("strong", {}, title), ": ", error.message), el("p", { class: "flat small" }, advice(error, text)));
  }

  function advice(error, text) {
    if (error.status === 401 && error.code === "invalid_api_key" && error.message === "Sign in first.") return el("a", { href: `/ui/sign-in?to=${encodeURIComponent(location.pathname + location.search)}`, class: "underlined" }, "Your session has ended: sign in again.");
    if (error.code === "no_usable_model") return "Raise the max cost, shorten the conversation, or pick another model.";
    if (error.code === "model_not_found") return "Pick a model of the list.";
    if (error.status === 429 || error.status === 503) return error.wait ? `Ask again in ${error.wait} s.` : "Ask again in a moment.";
    if (error.status === 401 || error.status === 403) return "The provider did not take the key of this model: see Routers for where it comes from.";
    if (error.status && error.status < 500) return "Change what it names, then ask again.";
    return text ? "What had come stands above. Nothing is retried once content has gone out: ask again." : "Ask again, or pick another model.";
  }

  function facts(reply) {
    const line = el("p", { class: "facts-line small muted" });
    const say = (...parts) => line.append(...(line.childNodes.length ? [" · "] : []), ...parts);
    if (reply.router || reply.model) {
      const swatch = reply.model && el("span", { class: "swatch", style: `background: ${setup.colours[reply.model] || "var(--idle)"}` });
      const to = el("strong", {}, ...(swatch ? [swatch] : []), reply.model || "no model");
      say(...(reply.router && reply.router !== "none" ? [el("a", { class: "underlined", href: `/ui/routers/${encodeURIComponent(reply.router)}` }, reply.router), " → ", to] : [to]));
    }
    if (reply.reason) say(reply.reason);
    if (reply.attempts !== null && reply.attempts !== undefined) say(`${reply.attempts} ${reply.attempts === 1 ? "attempt" : "attempts"}`);
    if (reply.first !== null) say(`first token ${seconds(reply.first)}`);
    say(`${seconds(reply.total)} in all`);
    if (reply.usage) say(`${count(reply.usage.prompt_tokens)} + ${count(reply.usage.completion_tokens)} tokens`);
    say(el("strong", {}, usd(reply.usage?.cost)));
    return line;
  }

  function tools(place, reply) {
    const row = el("div", { class: "row tools" });
    const button = (label, on, more = {}) => el("button", { type: "button", class: "quiet", on: { click: on }, ...more }, label);
    if (reply.id) {
      const why = el("div", { class: "why-box", hidden: true });
      row.append(
        el("a", { class: "button quiet", href: `/ui/calls/${encodeURIComponent(reply.id)}` }, "The call"),
        button("Why?", (event) => {
          const open = why.hidden;
          why.hidden = !open;
          event.currentTarget.setAttribute("aria-expanded", String(open));
          if (open) htmx.ajax("GET", `/ui/try/why/${encodeURIComponent(reply.id)}`, { target: why, swap: "innerHTML" });
        }, { "aria-expanded": "false" }),
        ...thumbs(reply),
      );
      row.after = why;
    }
    if (place === talk.turns.length - 1) row.append(button("Ask again", () => answer(place), { class: "quiet again" }));
    if (reply.body) row.append(button("Copy curl", (event) => copy(event.currentTarget, asCurl(reply.body))), button("Copy Python", (event) => copy(event.currentTarget, asPython(reply.body))));
    const all = document.createDocumentFragment();
    all.append(row, ...(row.after ? [row.after] : []));
    return all;
  }

  // ------------------------------------------------------------------ scores

  function thumbs(reply) {
    const note = el("span", { class: "small muted", role: "status" });
    const make = (score, sign, label) => {
      const button = el("button", { type: "button", class: "quiet", title: label, "aria-label": label, "aria-pressed": String(reply.score === score) }, $(sign).content.cloneNode(true));
      button.addEventListener("click", () => give(score));
      return button;
    };
    const buttons = [make(1, "icon-good", "Good reply"), make(0, "icon-bad", "Bad reply")];
    async function give(score) {
      note.textContent = "";
      let problem = "The proxy cannot be reached.";
      try {
        // A form's reply leads elsewhere; that it would is enough to know.
        const response = await fetch(`/ui/calls/${encodeURIComponent(reply.id)}/scores`, {
          method: "POST", redirect: "manual", body: new URLSearchParams({ value: score, name: "quality", comment: "" }),
        });
        problem = response.ok || response.type === "opaqueredirect" ? null : `The score was not kept (${response.status}).`;
      } catch { /* Said below. */ }
      if (problem === null) {
        reply.score = score;
        keep();
        buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(place === 1 - score)));
      }
      note.textContent = problem ?? "Score kept.";
    }
    return [...buttons, note];
  }

  // ------------------------------------------------------------------ to take away

  const quoted = (text) => `'${text.replaceAll("'", `'"'"'`)}'`;

  function asCurl(body) {
    const key = setup.has_key ? ` \\\n  -H "authorization: Bearer $HULLSPEED_API_KEY"` : "";
    return `curl -i ${quoted(`${setup.base}/chat/completions`)} -H 'content-type: application/json'${key} \\\n  -d ${quoted(JSON.stringify(body))}`;
  }

  function asPython({ messages: said, routing, ...fields }) {
    // Texts and numbers are written alike in JSON and in Python.
    const given = Object.entries(fields).map(([id, what]) => `    ${id}=${JSON.stringify(what)},\n`).join("");
    const lines = said.map((message) => `        ${JSON.stringify(message)},\n`).join("");
    return `${setup.has_key ? "import os\n\n" : ""}from openai import OpenAI\n\nclient = OpenAI(base_url=${JSON.stringify(setup.base)}, api_key=${setup.has_key ? 'os.environ["HULLSPEED_API_KEY"]' : '"none"'})\nreply = client.chat.completions.create(\n${given}    messages=[\n${lines}    ],\n${routing ? `    extra_body={"routing": ${JSON.stringify(routing)}},\n` : ""})\nprint(reply.model, reply.choices[0].message.content)\n`;
  }

  // ------------------------------------------------------------------ the sum of it

  function totals() {
    const replies = talk.turns.flatMap((turn) => turn.replies);
    const billed = replies.filter((reply) => reply.usage);
    const costs = billed.map((reply) => reply.usage.cost ?? null);
    const unknown = replies.length - costs.filter((cost) => cost !== null).length;
    const spent = costs.reduce((sum, cost) => sum + (cost ?? 0), 0);
    const tokens = (kind) => billed.reduce((sum, reply) => sum + (reply.usage[kind] || 0), 0);
    const [prompt, completion] = [tokens("prompt_tokens"), tokens("completion_tokens")];
    $("spent").textContent = `${usd(spent)}${unknown ? `, and ${unknown} ${unknown === 1 ? "call" : "calls"} of unknown cost` : ""}`;
    $("calls").textContent = count(replies.length);
    $("tokens").textContent = `${count(prompt)} + ${count(completion)}`;
    const others = Object.entries(setup.prices).map(([id, [input, output]]) => [input * prompt + output * completion, id]);
    const [cost, dearest] = others.reduce((most, one) => (one[0] > most[0] ? one : most), [0, null]);
    $("dearest-name").textContent = dearest === null ? "Dearest model" : `≈ with ${dearest}`;
    $("dearest").textContent = dearest === null ? "–" : usd(cost) + (spent < cost ? ` (you paid ${share(spent, cost)})` : "");
    $("session").hidden = !replies.length;
    $("session").href = `/ui/calls?session=${encodeURIComponent(talk.session)}`;
  }

  function redraw() {
    $("log").replaceChildren();
    $("nothing").hidden = talk.turns.length > 0;
    talk.turns.forEach((turn, place) => {
      // Reloaded in the middle of a reply: the question is asked again by hand.
      draw(place, turn.replies.at(-1) || { text: "", stopped: true, id: null, first: null, total: null, attempts: null });
    });
    totals();
  }

  // ------------------------------------------------------------------ what the reader does

  function send() {
    const text = $("text").value;
    if (!text.trim() || running || settings() === null) return;
    $("text").value = "";
    // An older turn can no longer be asked again.
    document.querySelectorAll("button.again").forEach((button) => button.remove());
    talk.turns.push({ user: text, replies: [] });
    keep();
    answer(talk.turns.length - 1);
  }

  $("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.stop.abort(); });
  $("stop").addEventListener("click", () => running?.stop.abort());
  $("clear").addEventListener("click", () => {
    talk = { session: name("try"), turns: [] };
    keep();
    redraw();
    $("said").textContent = "Cleared.";
    $("text").focus();
  });
  document.addEventListener("click", (event) => {
    const starter = event.target.closest("[data-starter]");
    if (starter) { $("text").value = starter.textContent; send(); }
  });
  for (const id of FIELDS) $(id).addEventListener("change", writeAddress);
  $("other")?.addEventListener("change", writeAddress);

  readAddress();
  writeAddress();
  redraw();
});
