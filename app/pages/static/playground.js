// Asking the models that routers picked, side by side, and which of their replies agree.
"use strict";

document.addEventListener("click", async (event) => {
  const { ask, rendered, el, usd, seconds, count, name } = window.hullspeed;
  const button = event.target.closest("button[data-ask]");
  if (!button) return;
  const place = document.getElementById("replies");
  if (button.dataset.running) {
    place.stop.abort();
    return;
  }
  const { body, models } = JSON.parse(button.dataset.ask);
  const session = name("playground"), stop = new AbortController(), said = button.textContent;
  const summary = el("p", { class: "muted small", role: "status" }, `Asking ${models.join(", ")} …`);
  const columns = el("div", { class: "grid thirds side-by-side" });
  place.stop = stop;
  place.replaceChildren(summary, columns);
  place.hidden = false;
  button.dataset.running = "yes";
  button.textContent = "Stop";

  const asked = models.map(async (model) => {
    const text = el("div", { class: "spoken" }, el("p", { class: "muted waiting" }, "waiting …"));
    const line = el("p", { class: "muted small meta" });
    const badge = el("span", { class: "badge end", hidden: true });
    columns.append(el("article", { class: "card", "data-model": model }, el("div", { class: "card-head" }, el("h3", {}, model), badge), text, line));
    const reply = await ask({ ...body, model }, { session, signal: stop.signal, onText: (now) => text.replaceChildren(rendered(now.text)) });
    if (!reply.text) text.replaceChildren(reply.tools.length ? el("p", {}, `It wants to call ${reply.tools.join(", ")}.`) : "");
    if (reply.stopped) text.append(el("p", { class: "notice warn small" }, "Stopped."));
    if (reply.error) text.append(el("p", { class: "notice bad small", role: "alert" }, reply.error.message));
    const cost = reply.usage?.cost;
    const facts = [usd(cost), `${seconds(reply.total)}, first token ${seconds(reply.first)}`];
    if (reply.usage) facts.push(`${count(reply.usage.prompt_tokens)} + ${count(reply.usage.completion_tokens)} tokens`);
    if (reply.model && reply.model !== model) facts.push(`answered by ${reply.model}`);
    line.append(facts.join(" · "), ...(reply.id ? [" · ", el("a", { class: "underlined", href: `/ui/calls/${encodeURIComponent(reply.id)}` }, "the call")] : []));
    return { model, reply, badge };
  });
  const all = await Promise.all(asked);
  delete button.dataset.running;
  button.textContent = said;

  const good = all.filter(({ reply }) => reply.text && !reply.error && !reply.stopped);
  const costs = all.map(({ reply }) => reply.usage?.cost ?? null);
  const total = costs.every((cost) => cost !== null) ? usd(costs.reduce((sum, cost) => sum + cost, 0)) : "a cost that is not all known";
  let verdict = "";
  if (good.length > 1) {
    const response = await fetch("/ui/routers/playground/agreement", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ replies: Object.fromEntries(good.map(({ model, reply }) => [model, reply.text])) }),
    });
    if (response.ok) verdict = agreement(good, (await response.json()).answers);
  }
  summary.replaceChildren(
    `${good.length} of ${all.length} answered, for ${total}. ${verdict} `,
    el("a", { class: "underlined", href: `/ui/calls?session=${encodeURIComponent(session)}` }, "Their calls"),
  );
});

// Marks the replies by their final answers; a sentence that says who agrees.
function agreement(good, answers) {
  const groups = Map.groupBy(good.filter(({ model }) => answers[model] !== null), ({ model }) => answers[model]);
  const largest = Math.max(0, ...[...groups.values()].map((group) => group.length));
  for (const { model, badge } of good) {
    const answer = answers[model];
    badge.hidden = false;
    badge.textContent = answer === null ? "no short answer" : `answers ${answer.length > 24 ? `${answer.slice(0, 23)}…` : answer}`;
    badge.title = answer ?? "";
    if (answer !== null && groups.size > 1) badge.classList.add(groups.get(answer).length === largest && largest > 1 ? "good" : "warn");
    if (answer !== null && groups.size === 1 && largest > 1) badge.classList.add("good");
  }
  if (groups.size === 0) return "No reply ends in a short answer that could be compared.";
  if (groups.size === 1) return largest > 1 ? `${largest === good.length ? "All" : largest} agree.` : "Only one has a short answer.";
  return `${groups.size} different answers${largest > 1 ? `, the most frequent from ${largest}` : ""}.`;
}
