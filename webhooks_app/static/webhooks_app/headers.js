/* The rows of the headers are moved: ▲▼ by key or press, the grip by the mouse. Without this script
   the order is typed as numbers. */
"use strict";
{
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

  /* The numbers follow the rows, and a screen reader hears the new place. */
  const moved = (row) => {
    let place = 0;
    for (const each of rows()) {
      each.querySelector("input[name$='-position']").value = filled(each) ? ++place : "";
    }
    tidy();
    const now = rows();
    document.getElementById("headers-status").textContent =
      `${nameOf(row)} is now ${now.indexOf(row) + 1} of ${now.length}`;
  };

  const byButton = (event) => {
    const button = event.target.closest("[data-move]");
    if (!button) return;
    const all = rows();
    const row = button.closest("tr");
    const up = button.dataset.move === "up";
    const other = all[all.indexOf(row) + (up ? -1 : 1)];
    if (!other) return;
    if (up) other.before(row);
    else other.after(row);
    moved(row);
    const twin = row.querySelector(`[data-move='${up ? "down" : "up"}']`);
    (button.disabled ? twin : button).focus();
  };

  const byGrip = (event) => {
    const grip = event.target.closest(".wh-grip");
    if (!grip || event.button !== 0) return;
    event.preventDefault();
    const row = grip.closest("tr");
    row.classList.add("wh-dragged");
    const follow = (move) => {
      const under = rows().find((other) => {
        const box = other.getBoundingClientRect();
        return other !== row && move.clientY >= box.top && move.clientY < box.bottom;
      });
      if (!under) return;
      const below = row.compareDocumentPosition(under) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (below) under.after(row);
      else under.before(row);
    };
    const drop = () => {
      row.classList.remove("wh-dragged");
      document.removeEventListener("pointermove", follow);
      moved(row);
    };
    document.addEventListener("pointermove", follow);
    document.addEventListener("pointerup", drop, { once: true });
    document.addEventListener("pointercancel", drop, { once: true });
  };

  if (group && group.querySelector(".wh-moves")) {
    tidy();
    group.addEventListener("input", tidy);
    group.addEventListener("click", byButton);
    group.addEventListener("pointerdown", byGrip);
    document.addEventListener("formset:added", tidy);
    document.addEventListener("formset:removed", tidy);
  }
}
