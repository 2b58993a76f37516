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
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent);
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
      const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      show(page, response.url);
    } catch {
      for (const button of buttons) button.disabled = false;
      say("busy", "This site gave no answer. Load the page anew to see whether the call was made.");
    }
  });

  /* Puts the board of a page just fetched in the place of this one's; what is typed below stays. */
  const show = (page, address) => {
    const fresh = page.getElementById("board");
    const words = page.querySelector(".messagelist");
    document.querySelector(".messagelist")?.remove();
    if (words) document.getElementById("content").before(words);
    document.getElementById("board").replaceWith(fresh);
    document.title = page.title;
    history.replaceState(null, "", address);
    offerCopies(fresh);
    fresh.dispatchEvent(new Event("webhooks:shown", { bubbles: true }));
    (document.getElementById("answer") ?? document.getElementById("verdict")).focus();
  };

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
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (!response.ok || term !== input.value) return;
      const { results } = await response.json();
      const byId = input.dataset.completeValue === "id";
      list.replaceChildren(...results.map(({ id, text }) => new Option(text, byId ? id : text)));
    };
    input.addEventListener("focus", ask);
    input.addEventListener("input", ask);
  });
}
