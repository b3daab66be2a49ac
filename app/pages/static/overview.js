// The overview while it is looked at: parts that are asked for again change in place, so that nothing flickers, scrolls
// or loses the focus; what is the same is not touched, and `data-keep` (charts, forms) is left as it is.
"use strict";

(() => {
  const named = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id ? node.id : null);

  const blank = (node) => node.nodeType === Node.TEXT_NODE && !node.nodeValue.trim();

  function patch(old, wanted) {
    if (old.nodeType === Node.ELEMENT_NODE) {
      if ("keep" in old.dataset) return;
      for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name) && name !== "data-local") old.removeAttribute(name);
      for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      patchChildren(old, wanted);
    } else if (old.nodeValue !== wanted.nodeValue) {
      old.nodeValue = wanted.nodeValue;
    }
  }

  function patchChildren(old, wanted) {
    const ids = new Map([...old.childNodes].filter(named).map((node) => [node.id, node]));
    let here = old.firstChild;
    for (const next of [...wanted.childNodes]) {
      // White space stands elsewhere in a part than in the whole page: what it is between is what counts, and must not
      // be taken for something else on its account.
      while (here && blank(here) && !blank(next)) {
        const after = here.nextSibling;
        here.remove();
        here = after;
      }
      const known = named(next) ? ids.get(next.id) : here && !named(here) ? here : null;
      if (known && known.nodeName === next.nodeName) {
        if (known === here) here = here.nextSibling;
        else old.insertBefore(known, here);
        patch(known, next);
      } else {
        old.insertBefore(next, here);
      }
    }
    while (here) {
      const after = here.nextSibling;
      here.remove();
      here = after;
    }
  }

  htmx.defineExtension("patch", {
    isInlineSwap: (style) => style === "patch",
    handleSwap(style, target, fragment) {
      if (style !== "patch") return false;
      const focused = document.activeElement;
      patchChildren(target, fragment);
      if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
      hullspeed.begin(target);
      return true;
    },
  });

  // Looking again, every so many seconds, as long as somebody sees it.
  let looked = Date.now();
  const look = () => document.querySelectorAll("[data-look]").forEach((part) => htmx.trigger(part, "look"));
  setInterval(() => {
    const part = document.querySelector("[data-look]");
    if (!part || document.hidden || Date.now() - looked < 1000 * Number(part.dataset.look) - 50) return;
    looked = Date.now();
    look();
  }, 250);
  document.addEventListener("visibilitychange", () => document.hidden || look());

  // What is shown may be old, and the reader must know.
  function mark(text, good) {
    const place = document.getElementById("live-mark");
    if (!place || place.textContent === text) return;
    place.textContent = text;
    place.classList.toggle("good", good);
    place.classList.toggle("bad", !good);
  }
  const isLook = (event) => event.detail.elt && event.detail.elt.dataset && "look" in event.detail.elt.dataset;
  document.addEventListener("htmx:sendError", (event) => isLook(event) && mark("The proxy does not answer", false));
  document.addEventListener("htmx:responseError", (event) => isLook(event) && mark("Not up to date", false));
  document.addEventListener("htmx:afterSwap", (event) => isLook(event) && mark("Live", true));
})();
