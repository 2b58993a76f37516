/* Progressive enhancement only: every page works without it. */
"use strict";
{
  const say = (id, words) => {
    const place = document.getElementById(id);
    if (place) place.textContent = words;
  };

  /* Copy: data-copy names the element whose text or value is copied. */
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    button.textContent = "Copied";
    say(button.dataset.copied, "Copied to the clipboard.");
  });

  /* A verb that calls out takes seconds: say so, and take one press only. */
  document.addEventListener("submit", (event) => {
    const words = event.target.dataset.busy;
    if (!words) return;
    say("busy", words);
    event.target.querySelector("button").disabled = true;
  });
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("[data-busy] button")) button.disabled = false;
  });

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
