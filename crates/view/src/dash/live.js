// Keeps the page as the registry has it: listens to its events, loads the page
// again and puts in what differs. Without it the page is whole, and still.
"use strict";
(() => {
  const light = document.getElementById("live");
  const main = document.getElementById("main");
  if (!light || !main || !window.EventSource) return;

  const SETTLE_MS = 250;
  const APART_MS = 1000;
  let due = null;
  let last = 0;
  let loading = false;
  let again = false;

  const say = (state, words) => {
    if (light.dataset.state === state) return;
    light.dataset.state = state;
    light.textContent = words;
  };

  const span = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    if (m) return `${m} min ${s % 60} s`;
    return `${s} s`;
  };

  const tick = () => {
    const now = Date.now();
    for (const time of document.querySelectorAll("time[data-until]")) {
      time.textContent = span(Number(time.dataset.until) - now);
    }
    for (const time of document.querySelectorAll("time[data-ago]")) {
      time.textContent = `${span(now - Number(time.dataset.ago))} ago`;
    }
  };

  const patch = (is, wanted) => {
    if (is.isEqualNode(wanted)) return;
    if (is.nodeName !== wanted.nodeName || is.id !== wanted.id) {
      is.replaceWith(document.importNode(wanted, true));
      return;
    }
    if (is.nodeType !== Node.ELEMENT_NODE) {
      is.nodeValue = wanted.nodeValue;
      return;
    }
    // What a person opened stays open, what they typed stays typed.
    if (is.nodeName === "INPUT" || is.nodeName === "TEXTAREA") return;
    for (const { name } of [...is.attributes]) {
      if (!wanted.hasAttribute(name) && name !== "open") is.removeAttribute(name);
    }
    for (const { name, value } of [...wanted.attributes]) {
      if (is.getAttribute(name) !== value) is.setAttribute(name, value);
    }
    const [have, want] = [[...is.childNodes], [...wanted.childNodes]];
    want.forEach((node, index) => {
      if (have[index]) patch(have[index], node);
      else is.appendChild(document.importNode(node, true));
    });
    have.slice(want.length).forEach((node) => node.remove());
  };

  const load = async () => {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") {
        location.reload();
        return;
      }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh) patch(main, fresh);
        if (document.title !== page.title) document.title = page.title;
        main.dataset.loads = String(Number(main.dataset.loads || 0) + 1);
        tick();
      }
    } catch {
      // The registry is away; the stream says so and comes back by itself.
    } finally {
      loading = false;
      last = Date.now();
      if (again) {
        again = false;
        soon();
      }
    }
  };

  const soon = () => {
    if (due !== null) return;
    due = setTimeout(() => {
      due = null;
      load();
    }, Math.max(SETTLE_MS, last + APART_MS - Date.now()));
  };

  let stream = null;
  const listen = () => {
    stream = new EventSource("/api/events");
    stream.addEventListener("hello", () => {
      if (light.dataset.state === "away") soon();
      say("live", "live");
    });
    for (const name of ["entry", "peer", "removed", "decided", "missed"]) {
      stream.addEventListener(name, soon);
    }
    stream.onerror = () => {
      say("away", "reconnecting");
      // A browser gives up on some errors; we do not.
      if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    };
  };

  listen();
  tick();
  setInterval(tick, 1000);
  // Values that change without an event, such as a peer's memory.
  setInterval(() => {
    if (!document.hidden) soon();
  }, 15000);
  window.addEventListener("pagehide", () => stream && stream.close());
})();
