/* What of a page is fetched anew while somebody looks at it: asked for, judged, put in its place.
   Progressive enhancement only: every page works without it. The other scripts use `webhooks`. */
"use strict";

const webhooks = (() => {
  const EVERY = 3000; // ms

  /* Why there is no answer to show, in words; `login`: the session has ended. */
  class Lost extends Error {
    constructor(words, login = false) {
      super(words);
      this.login = login;
    }
  }

  const WORDS = {
    403: "You may not do this, or not any more.",
    404: "It is not there any more: somebody has deleted it.",
    429: "Too much was asked at once.",
  };

  /* The page at an address, or the reason why there is none. */
  const ask = async (address, options) => {
    let response, text;
    try {
      response = await fetch(address, options);
      text = await response.text();
    } catch {
      throw new Lost("This site gave no answer.");
    }
    const ended = response.redirected && new URL(response.url).searchParams.has("next");
    if (ended) throw new Lost("Your session has ended.", true);
    if (!response.ok) {
      const words = WORDS[response.status];
      throw new Lost(words ?? `This site answers with an error (${response.status}).`);
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    return { page, text, address: response.url };
  };

  /* A POST of a form. Whoever has logged in anew meanwhile has another token in the cookie than
     this page has in its forms: it is fetched once. */
  let posting = 0;
  const post = async (form) => {
    const send = () => ask(form.action, { method: "POST", body: new FormData(form) });
    posting += 1;
    try {
      return await send();
    } catch (lost) {
      if (lost.message !== WORDS[403]) throw lost;
      const name = "input[name=csrfmiddlewaretoken]";
      const { page } = await ask(location.href);
      const token = page.querySelector(name)?.value;
      if (!token) throw lost;
      for (const input of document.querySelectorAll(name)) input.value = token;
      return await send();
    } finally {
      posting -= 1;
    }
  };

  /* Says why, with the way back to where one logs in: in another tab, so that what was typed into
     this page stays. */
  const tell = (place, words, lost) => {
    place.textContent = words;
    if (!lost?.login) return;
    const link = document.createElement("a");
    link.href = location.href;
    link.target = "_blank";
    link.textContent = "Log in again";
    place.append(" ", link, " in another tab and go on here; what you typed stays.");
  };

  /* One part for another; what is open, typed or has the focus in it stays so. */
  const swap = (old, fresh) => {
    const summary = (details) => details.querySelector("summary")?.textContent;
    const open = [...old.querySelectorAll("details[open]")].map(summary);
    const typed = [...old.querySelectorAll("input[id]:not([type=hidden]), textarea[id]")];
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(fresh);
    for (const details of fresh.querySelectorAll("details")) {
      if (open.includes(summary(details))) details.open = true;
    }
    for (const { id, value, defaultValue } of typed) {
      const input = document.getElementById(id);
      if (input && value !== defaultValue) input.value = value;
    }
    if (focused) document.getElementById(focused)?.focus();
    fresh.dispatchEvent(new Event("webhooks:shown", { bubbles: true }));
  };

  /* The live parts of a page just fetched in the place of this one's; all else stays. */
  const show = (page) => {
    const words = page.querySelector(".messagelist");
    document.querySelector(".messagelist")?.remove();
    if (words) document.getElementById("content").before(words);
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(part.id);
      if (fresh) swap(part, fresh);
    }
    document.title = page.title;
  };

  /* What is said of a part that could not be fetched, beside it. */
  const note = (part, lost) => {
    const id = `${part.id}-lost`;
    let place = document.getElementById(id);
    if (!lost) {
      place?.remove();
      return;
    }
    if (!place) {
      place = document.createElement("p");
      place.id = id;
      place.className = "wh wh-lost";
      place.setAttribute("role", "status");
      part.before(place);
    }
    const words = `${lost.message} What is shown here may be old.`;
    if (place.dataset.words === words) return; // a screen reader hears it once
    place.dataset.words = words;
    tell(place, words, lost);
  };

  /* `data-again`: a part changes by itself; the address it comes from, "" for this page. It is put
     in its place when its `data-mark` has changed, or each time where it has none. */
  const again = async (part) => {
    try {
      const { page } = await ask(part.dataset.again || location.href);
      if (posting || !part.isConnected) return; // what a verb shows is newer than what was asked before
      const fresh = page.getElementById(part.id);
      if (!fresh) throw new Lost(WORDS[404]);
      note(part);
      if (part.dataset.mark && part.dataset.mark === fresh.dataset.mark) return;
      if (part.dataset.again) swap(part, fresh);
      else show(page);
    } catch (lost) {
      if (!(lost instanceof Lost)) throw lost;
      if (part.isConnected) note(part, lost);
    }
  };

  const pause = () => new Promise((done) => setTimeout(done, EVERY));
  const turn = async () => {
    for (;;) {
      await pause();
      if (document.hidden) continue;
      for (const part of document.querySelectorAll("[data-again]")) await again(part);
    }
  };
  turn();

  return { EVERY, Lost, ask, post, tell, show, note };
})();
