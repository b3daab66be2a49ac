// Asking the proxy from a page: one call, streamed; replies shown as text; figures written as everywhere else.
"use strict";

(() => {
  const ENDPOINT = "/ui/try/chat";

  // The parts of a stream of server-sent events (WHATWG HTML, 9.2.6): comments, such as a proxy's keep-alive, are
  // none.
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", data = [];
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        rest += value;
        const lines = rest.split(/\r\n|\n|\r(?!$)/);
        rest = lines.pop();
        for (const line of lines) {
          if (line === "" && data.length) {
            yield data.join("\n");
            data = [];
          } else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  const named = (headers, name) => headers.get(`x-hullspeed-${name}`);

  function readHead(reply, headers) {
    const attempts = named(headers, "attempts");
    Object.assign(reply, {
      id: named(headers, "call-id"), router: named(headers, "router"), model: named(headers, "model"),
      reason: named(headers, "reason"), attempts: attempts === null ? null : Number(attempts),
    });
  }

  function readChunk(reply, chunk, begun, onText) {
    if (chunk.error) {
      reply.error = { status: null, ...plain(chunk.error) };
      return;
    }
    if (chunk.model) reply.model = chunk.model;
    if (chunk.usage) reply.usage = chunk.usage;
    const choice = (chunk.choices || [])[0];
    if (!choice) return;
    if (choice.finish_reason) reply.finish = choice.finish_reason;
    const said = choice.delta || choice.message || {};
    for (const call of said.tool_calls || []) if (call.function?.name) reply.tools.push(call.function.name);
    const text = said.content || said.refusal || "";
    if (typeof text === "string" && text) {
      reply.first ??= (performance.now() - begun) / 1000;
      reply.text += text;
      onText(reply);
    }
  }

  // The error of OpenAI's envelope, whatever was sent in its place.
  function plain(error) {
    if (typeof error === "string") return { message: error, code: null, type: null };
    return { message: String(error?.message ?? "No reason was given."), code: error?.code ?? null, type: error?.type ?? null };
  }

  // Calls with `body`; gives what became of it and never throws. `onText` is told of each part.
  async function ask(body, { session, signal, onText = () => {} }) {
    const begun = performance.now();
    const reply = {
      id: null, router: null, model: null, reason: null, attempts: null, text: "", tools: [], usage: null,
      first: null, total: null, finish: null, error: null, stopped: false,
    };
    try {
      const response = await fetch(ENDPOINT, {
        method: "POST", signal,
        headers: { "content-type": "application/json", "x-hullspeed-session": session },
        body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
      });
      readHead(reply, response.headers);
      if (!response.ok) {
        const text = await response.text();
        let error = text.slice(0, 500) || response.statusText;
        try { error = JSON.parse(text).error ?? error; } catch { /* Not ours: somebody's between us. */ }
        reply.error = { status: response.status, wait: response.headers.get("retry-after"), ...plain(error) };
      } else if ((response.headers.get("content-type") || "").startsWith("text/event-stream")) {
        let ended = false;
        for await (const data of events(response.body)) {
          if (data === "[DONE]") { ended = true; break; }
          try { readChunk(reply, JSON.parse(data), begun, onText); } catch { /* A part that is no JSON says nothing. */ }
          if (reply.error) break;
        }
        if (!ended && !reply.error) {
          reply.error = { status: null, code: "cut", type: null, message: "The connection to the proxy broke before the reply had ended." };
        }
      } else readChunk(reply, await response.json(), begun, onText);
    } catch (error) {
      if (signal?.aborted) reply.stopped = true;
      else reply.error = { status: null, code: "unreachable", type: null, message: "The proxy cannot be reached. Is it still running?" };
    }
    reply.total = (performance.now() - begun) / 1000;
    return reply;
  }

  // ------------------------------------------------------------------ text as elements; nothing in it is markup

  const el = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") made.className = value;
      else if (key === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
      else made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };

  const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]+?)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]+?)\*(?![\w*])/g;

  function inline(text) {
    const found = [];
    let end = 0;
    for (const match of text.matchAll(INLINE)) {
      if (match.index > end) found.push(text.slice(end, match.index));
      if (match[2] !== undefined) found.push(el("code", {}, match[2]));
      else if (match[3] !== undefined) found.push(el("strong", {}, ...inline(match[3])));
      else found.push(el("em", {}, match[4]));
      end = match.index + match[0].length;
    }
    if (end < text.length) found.push(text.slice(end));
    return found;
  }

  const ITEM = /^(\s*)(?:([-*+])|(\d{1,9})[.)])\s+(.*)$/;

  // Paragraphs, code blocks, lists, headings, bold and code of Markdown; all else stays as it was written.
  function rendered(text) {
    const blocks = document.createDocumentFragment();
    const lines = text.split(/\r?\n/);
    let paragraph = [];
    const flush = () => {
      if (paragraph.length) {
        const p = el("p");
        paragraph.forEach((line, place) => p.append(...(place ? [el("br")] : []), ...inline(line)));
        blocks.append(p);
      }
      paragraph = [];
    };
    for (let at = 0; at < lines.length; at++) {
      const line = lines[at];
      const fence = line.match(/^\s*(```+|~~~+)/);
      if (fence) {
        flush();
        const code = [];
        while (++at < lines.length && !lines[at].trim().startsWith(fence[1])) code.push(lines[at]);
        blocks.append(el("pre", { tabindex: 0 }, el("code", {}, code.join("\n"))));
        continue;
      }
      const item = line.match(ITEM);
      if (item) {
        flush();
        const list = item[2] ? el("ul") : el("ol", { start: item[3] === "1" ? null : item[3] });
        for (; at < lines.length; at++) {
          const next = lines[at].match(ITEM);
          if (next && Boolean(next[2]) !== Boolean(item[2]) && next[1].length <= item[1].length) break;
          if (next) list.append(el("li", { class: next[1].length > item[1].length ? "deeper" : null }, ...inline(next[4])));
          else if (/^\s+\S/.test(lines[at])) list.lastChild.append(el("br"), ...inline(lines[at].trim()));
          else break;
        }
        at--;
        blocks.append(list);
        continue;
      }
      const heading = line.match(/^#{1,6}\s+(.*)$/);
      if (heading) {
        flush();
        blocks.append(el("p", {}, el("strong", {}, ...inline(heading[1]))));
      } else if (line.trim() === "") flush();
      else paragraph.push(line);
    }
    flush();
    return blocks;
  }

  // ------------------------------------------------------------------ figures, as `app.core.formats` writes them

  function usd(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "$0";
    const digits = Math.abs(value) >= 1 ? 2 : Math.abs(value) >= 0.01 ? 4 : 6;
    return `$${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
  }
  function seconds(value) {
    if (value === null || value === undefined) return "–";
    if (value < 0.0995) return `${(1000 * value).toFixed(1)} ms`;
    return value < 0.9995 ? `${(1000 * value).toFixed(0)} ms` : `${value.toFixed(1)} s`;
  }
  const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US"));
  const share = (part, whole) => {
    if (!whole) return "–";
    return `${(100 * part / whole).toFixed(part && part / whole < 0.0995 ? 1 : 0)}%`;
  };

  const name = (prefix) => `${prefix}-${Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

  // A slider drives the field that holds the value; empty means that none is set.
  document.addEventListener("input", (event) => {
    const driven = event.target.dataset?.drives;
    if (driven) {
      const field = document.getElementById(driven);
      field.value = event.target.value;
      field.dispatchEvent(new Event("change", { bubbles: true }));
      return;
    }
    const slider = event.target.id && document.querySelector(`[data-drives="${CSS.escape(event.target.id)}"]`);
    if (slider && event.target.value.trim() !== "") slider.value = event.target.value;
  });

  Object.assign(window.hullspeed, { ask, rendered, el, usd, seconds, count, share, name });
})();
