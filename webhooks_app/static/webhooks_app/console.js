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

  /* Headers: ▲▼ move a row; focus stays on it. */
  const group = document.getElementById("headers-group");
  const rows = () => [...group.querySelectorAll("tbody tr.form-row:not(.empty-form)")];
  const nameOf = (row) => row.querySelector("input[name$='-name']").value || "new header";
  const filled = (row) =>
    row.classList.contains("has_original") ||
    [...row.querySelectorAll("input[name$='-name'], input[name$='-new_value']")].some((i) => i.value);

  const tidy = () => {
    const all = rows();
    all.forEach((row, index) => {
      const [up, down] = row.querySelectorAll("[data-move]");
      row.querySelector(".wh-moves").hidden = false;
      up.disabled = index === 0;
      down.disabled = index === all.length - 1;
      up.setAttribute("aria-label", `Move ${nameOf(row)} up`);
      down.setAttribute("aria-label", `Move ${nameOf(row)} down`);
    });
  };

  const number = () => {
    let place = 0;
    for (const row of rows()) {
      const input = row.querySelector("input[name$='-position']");
      input.value = filled(row) ? ++place : "";
    }
  };

  if (group && group.querySelector(".wh-moves")) {
    tidy();
    group.addEventListener("input", tidy);
    document.addEventListener("formset:added", tidy);
    document.addEventListener("formset:removed", tidy);
    group.addEventListener("click", (event) => {
      const button = event.target.closest("[data-move]");
      if (!button) return;
      const all = rows();
      const row = button.closest("tr");
      const up = button.dataset.move === "up";
      const other = all[all.indexOf(row) + (up ? -1 : 1)];
      if (!other) return;
      if (up) other.before(row);
      else other.after(row);
      number();
      tidy();
      const twin = row.querySelector(`[data-move='${up ? "down" : "up"}']`);
      (button.disabled ? twin : button).focus();
      const now = rows();
      say("headers-status", `${nameOf(row)} is now ${now.indexOf(row) + 1} of ${now.length}`);
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
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (!response.ok || term !== input.value) return;
      const { results } = await response.json();
      list.replaceChildren(...results.map(({ text }) => new Option(text, text)));
    };
    input.addEventListener("focus", ask);
    input.addEventListener("input", ask);
  });
}
