/* Progressive enhancement only: every page works without it. */
"use strict";
{
  const EVERY = 3000; // ms

  /* A running job: its numbers are fetched again; buttons and focus stay where they are. */
  const again = async () => {
    for (const part of document.querySelectorAll("[data-again]")) {
      if (document.hidden) continue;
      try {
        const response = await fetch(part.dataset.again);
        if (!response.ok) continue;
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById(part.id);
        if (!fresh) continue;
        part.replaceWith(fresh);
        /* Its own page has a headline and buttons for what it does; they change when it ends. */
        if (!fresh.dataset.again && fresh.closest(".wh-banner")) location.reload();
      } catch {
        /* the server is away: the next time */
      }
    }
  };
  if (document.querySelector("[data-again]")) setInterval(again, EVERY);

  /* Follow: says how many are new, and never moves a row that somebody reads. */
  const follow = document.querySelector(".wh-follow");
  if (follow) {
    const box = follow.querySelector("#follow");
    const fresh = follow.querySelector("#follow-new");
    let timer = 0;
    const look = async () => {
      if (document.hidden) return;
      try {
        const response = await fetch(`${follow.dataset.newer}&after=${follow.dataset.after}`);
        if (!response.ok) return;
        const { count } = await response.json();
        fresh.hidden = count === "0";
        fresh.textContent = `${count} new`;
      } catch {
        /* the server is away: the next time */
      }
    };
    const turn = () => {
      sessionStorage.setItem("webhooks-follow", box.checked ? "1" : "");
      clearInterval(timer);
      if (box.checked) {
        timer = setInterval(look, EVERY);
        look();
      } else {
        fresh.hidden = true;
      }
    };
    follow.hidden = false;
    box.checked = sessionStorage.getItem("webhooks-follow") === "1";
    box.addEventListener("change", turn);
    if (box.checked) turn();
  }
}
