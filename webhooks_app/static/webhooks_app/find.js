/* The key / leads to the search for everything. Without a script Tab does. */
"use strict";
document.addEventListener("keydown", (event) => {
  const into = event.target;
  const types = into.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(into.tagName);
  if (event.key !== "/" || types || event.ctrlKey || event.metaKey || event.altKey) return;
  const box = document.getElementById("find") ?? document.getElementById("find-all");
  if (!box) return;
  event.preventDefault();
  box.focus();
  box.select();
});
