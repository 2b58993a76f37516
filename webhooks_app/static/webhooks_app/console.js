/* Progressive enhancement only: every page works without it. */
"use strict";
{
  const say = (id, words) => {
    const place = document.getElementById(id);
    if (place) place.textContent = words;
  };

  /* Copy: data-copy names the element whose text or value is copied. */
  const offerCopies = (place) => {
    if (!navigator.clipboard) return;
    for (const button of place.querySelectorAll("[data-copy]")) button.hidden = false;
  };
  offerCopies(document);
  document.addEventListener("webhooks:shown", (event) => offerCopies(event.target));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
    } catch {
      button.textContent = "Not copied";
      say(button.dataset.copied, "The browser lets nothing be copied here: mark the text yourself.");
      return;
    }
    button.textContent = "Copied";
    say(button.dataset.copied, "Copied to the clipboard.");
  });

  /* A verb that calls out takes seconds: say so, take one press only, show the answer in place. */
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const board = document.getElementById("board");
    if (!form.dataset.busy || !board) return;
    event.preventDefault();
    const buttons = board.querySelectorAll("[data-busy] button");
    for (const button of buttons) button.disabled = true;
    say("busy", form.dataset.busy);
    try {
      const { page, address } = await webhooks.post(form);
      if (!page.getElementById("board")) throw new webhooks.Lost("No page of it came back.");
      webhooks.show(page);
      history.replaceState(null, "", address);
      (document.getElementById("answer") ?? document.getElementById("verdict")).focus();
    } catch (lost) {
      if (!(lost instanceof webhooks.Lost)) throw lost;
      for (const button of buttons) button.disabled = false;
      const more = lost.login ? "" : " Load the page anew to see whether the call was made.";
      webhooks.tell(document.getElementById("busy"), `${lost.message}${more}`, lost);
    }
  });

  /* The browser prints; it may not be able to. */
  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }

  /* Of two texts the one that is stored. */
  for (const button of document.querySelectorAll("[data-take]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      document.getElementById(button.dataset.take).value = button.dataset.text;
      button.textContent = "Taken";
    });
  }

  /* Account names are completed while they are typed. */
  document.querySelectorAll("input[data-complete]").forEach((input, index) => {
    const list = document.createElement("datalist");
    list.id = `accounts-${index}`;
    input.after(list);
    input.setAttribute("list", list.id);
    let asked = null;
    const ask = async () => {
      const term = input.value;
      if (term === asked) return;
      asked = term;
      const url = `${input.dataset.complete}&term=${encodeURIComponent(term)}`;
      let results;
      try {
        ({ results } = JSON.parse((await webhooks.ask(url)).text));
      } catch {
        return; // the name can be typed as a whole
      }
      if (term !== input.value) return;
      const byId = input.dataset.completeValue === "id";
      list.replaceChildren(...results.map(({ id, text }) => new Option(text, byId ? id : text)));
    };
    input.addEventListener("focus", ask);
    input.addEventListener("input", ask);
  });
}
